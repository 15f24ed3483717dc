//! Ranges of bytes (RFC 9110 §14): answered from the store, stored, and combined.

use bytes::{Bytes, BytesMut};
use http::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::entry::Entry;
use crate::state;

/// More ranges than any honest client asks for: such a request is answered with the whole.
const MAX_RANGES: usize = 16;

/// What a part's body is of the whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Part {
    pub(crate) first: u64,
    /// The length of the whole.
    pub(crate) total: u64,
}

impl Part {
    /// What a 206 with one range and this length says it is. `None` if it does not say it clearly.
    pub(crate) fn of(headers: &HeaderMap) -> Option<(Self, u64)> {
        let mut values = headers.get_all(CONTENT_RANGE).iter();
        let text = values.next()?.to_str().ok()?;
        if values.next().is_some() {
            return None;
        }
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last, total) = (number(first)?, number(last)?, number(total)?);
        (first <= last && last < total).then(|| (Self { first, total }, last - first + 1))
    }
}

fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

/// Bytes from the first to before the second.
type Span = (u64, u64);

/// What a request asks for of a whole of this length.
#[derive(Debug, Eq, PartialEq)]
enum Wanted {
    All,
    Nothing,
    Spans(Vec<Span>),
}

fn wanted(range: &HeaderValue, total: u64) -> Wanted {
    let Some(specs) = range.to_str().ok().and_then(|text| text.strip_prefix("bytes=")) else {
        return Wanted::All;
    };
    let mut spans = Vec::new();
    let mut count = 0;
    for spec in specs.split(',').map(str::trim).filter(|spec| !spec.is_empty()) {
        count += 1;
        if count > MAX_RANGES {
            return Wanted::All;
        }
        let span = match spec.split_once('-') {
            Some(("", suffix)) => number(suffix).map(|len| (total.saturating_sub(len), total)),
            Some((first, "")) => number(first).map(|first| (first, total)),
            Some((first, last)) => match (number(first), number(last)) {
                (Some(first), Some(last)) if first <= last => {
                    Some((first, total.min(last.saturating_add(1))))
                }
                _ => None,
            },
            None => None,
        };
        match span {
            // One that is no range makes them all void.
            None => return Wanted::All,
            Some((first, end)) if first < end => spans.push((first, end)),
            Some(_) => {}
        }
    }
    if count == 0 {
        return Wanted::All;
    }
    if spans.is_empty() {
        return Wanted::Nothing;
    }
    let asked: u64 = spans.iter().map(|(first, end)| end - first).sum();
    // Ranges that overlap are an attack, or of no use to their client (RFC 9110 §14.2).
    if spans.len() > 1 && asked > total { Wanted::All } else { Wanted::Spans(spans) }
}

/// What is served of an entry.
#[derive(Debug)]
pub(crate) enum Selected {
    /// The answer is the whole, with the head as it was.
    Whole(Response<()>),
    /// A head and body that differ from the whole's.
    Part(Response<Bytes>),
    /// What is asked for is not in the store.
    Missing,
}

/// Selects what a request asks for. `head` is the head of the answer so far.
pub(crate) fn select(entry: &Entry, request: &HeaderMap, head: Response<()>) -> Selected {
    let total = entry.part.map_or(entry.body.len() as u64, |part| part.total);
    let offset = entry.part.map_or(0, |part| part.first);
    let asked = request.get(RANGE).filter(|_| is_unchanged(request, &entry.head.headers));
    let wanted = match asked {
        Some(range) if matches!(entry.head.status.as_u16(), 200 | 206) => wanted(range, total),
        _ => Wanted::All,
    };
    let slice = |(first, end): Span| {
        let len = entry.body.len() as u64;
        let (start, end) = (first.checked_sub(offset)?, end.checked_sub(offset)?);
        (end <= len).then(|| entry.body.slice(start as usize..end as usize))
    };
    match wanted {
        Wanted::All if entry.part.is_some() => Selected::Missing,
        Wanted::All => Selected::Whole(head),
        Wanted::Nothing => {
            let mut response = head.map(|()| Bytes::new());
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            let headers = response.headers_mut();
            headers.remove(CONTENT_TYPE);
            headers.insert(CONTENT_LENGTH, 0.into());
            headers.insert(CONTENT_RANGE, visible(format!("bytes */{total}")));
            Selected::Part(response)
        }
        Wanted::Spans(spans) => match &spans[..] {
            [span] => match slice(*span) {
                Some(body) => Selected::Part(single(head, *span, total, body)),
                None => Selected::Missing,
            },
            many => {
                let slices: Option<Vec<_>> = many.iter().map(|span| slice(*span)).collect();
                match slices {
                    Some(slices) => Selected::Part(multiple(head, many, total, &slices)),
                    None => Selected::Missing,
                }
            }
        },
    }
}

fn single(head: Response<()>, (first, end): Span, total: u64, body: Bytes) -> Response<Bytes> {
    let mut response = head.map(|()| body);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let len = response.body().len();
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, len.into());
    headers.insert(CONTENT_RANGE, visible(format!("bytes {first}-{}/{total}", end - 1)));
    response
}

/// `multipart/byteranges` (RFC 9110 §14.6).
fn multiple(head: Response<()>, spans: &[Span], total: u64, slices: &[Bytes]) -> Response<Bytes> {
    // By chance, so that no stored body can hold it on purpose.
    let boundary = format!("{:032x}", bartizan_core::Key::random().as_u128());
    let mut response = head.map(|()| Bytes::new());
    let mut body = BytesMut::new();
    let kind = response.headers().get(CONTENT_TYPE).cloned();
    for ((first, end), slice) in spans.iter().zip(slices) {
        body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        if let Some(kind) = &kind {
            body.extend_from_slice(b"Content-Type: ");
            body.extend_from_slice(kind.as_bytes());
            body.extend_from_slice(b"\r\n");
        }
        let range = format!("Content-Range: bytes {first}-{}/{total}\r\n\r\n", end - 1);
        body.extend_from_slice(range.as_bytes());
        body.extend_from_slice(slice);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let headers = response.headers_mut();
    headers.remove(CONTENT_RANGE);
    headers.insert(CONTENT_LENGTH, body.len().into());
    let kind = format!("multipart/byteranges; boundary={boundary}");
    headers.insert(CONTENT_TYPE, visible(kind));
    *response.body_mut() = body.freeze();
    response
}

fn visible(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("made of visible ASCII")
}

/// Whether the client's other parts are of the stored response (RFC 9110 §13.1.5): by a strong tag,
/// or by a date that is one of a strong validator.
fn is_unchanged(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let Some(condition) = request.get(IF_RANGE) else { return true };
    if condition.as_bytes().starts_with(b"\"") {
        return stored.get(ETAG) == Some(condition);
    }
    let modified = stored.get(LAST_MODIFIED);
    modified == Some(condition)
        && state::date(stored, LAST_MODIFIED)
            .zip(state::date(stored, DATE))
            .is_some_and(|(modified, date)| date.saturating_sub(modified).as_secs() >= 60)
}

/// Whether a new part leaves an old whole in place: that is fresh, and nothing says that it is of
/// another representation.
pub(crate) fn leaves(new: &Entry, old: &Entry) -> bool {
    let Some(part) = new.part.filter(|_| old.part.is_none()) else { return false };
    let other = |name: &HeaderName| {
        let (new, old) = (new.head.headers.get(name), old.head.headers.get(name));
        new.is_some_and(|new| old.is_some_and(|old| new != old))
    };
    let now = new.head.policy.freshness.received();
    part.total == old.body.len() as u64
        && old.head.policy.freshness.left(now).is_some()
        && ![ETAG, LAST_MODIFIED].iter().any(other)
}

/// Puts a new part together with what is stored of the same representation: both strong tags are
/// equal, and the parts touch (RFC 9111 §3.4). `None` if they do not belong together, or are longer
/// than `limit` together.
pub(crate) fn combine(new: &Entry, old: &Entry, limit: u64) -> Option<(Bytes, Option<Part>)> {
    let part = new.part?;
    let tag = new.head.headers.get(ETAG)?;
    if !tag.as_bytes().starts_with(b"\"") || old.head.headers.get(ETAG) != Some(tag) {
        return None;
    }
    let Some(other) = old.part else {
        // It is whole already.
        return (old.body.len() as u64 == part.total).then(|| (old.body.clone(), None));
    };
    let (start, old_start) = (part.first, other.first);
    let (end, old_end) = (start + new.body.len() as u64, old_start + old.body.len() as u64);
    if other.total != part.total || start > old_end || old_start > end {
        return None;
    }
    let first = start.min(old_start);
    let len = end.max(old_end) - first;
    if len > limit {
        return None;
    }
    let mut body = BytesMut::with_capacity(len as usize);
    if old_start < start {
        body.extend_from_slice(&old.body[..(start - old_start) as usize]);
    }
    body.extend_from_slice(&new.body);
    if old_end > end {
        body.extend_from_slice(&old.body[(end - old_start) as usize..]);
    }
    let is_whole = first == 0 && body.len() as u64 == part.total;
    Some((body.freeze(), (!is_whole).then_some(Part { first, total: part.total })))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::*;
    use crate::entry::tests::{RECEIVED, entry, headers};
    use crate::head::Line;

    const FRESH: (&str, &str) = ("cache-control", "max-age=60");

    fn answer(entry: &Entry, request: &[(&'static str, &'static str)]) -> (u16, String, String) {
        let head = entry.head.respond(RECEIVED.now, Line::None);
        match select(entry, &headers(request), head) {
            Selected::Whole(_) => (200, String::new(), "whole".into()),
            Selected::Missing => (0, String::new(), "missing".into()),
            Selected::Part(response) => {
                let range =
                    response.headers().get(CONTENT_RANGE).map(|range| range.to_str().unwrap());
                let range = range.unwrap_or_default().to_owned();
                assert_eq!(
                    response.headers()[CONTENT_LENGTH],
                    response.body().len().to_string().as_str()
                );
                let body = String::from_utf8(response.body().to_vec()).unwrap();
                (response.status().as_u16(), range, body)
            }
        }
    }

    #[test]
    fn one_range_is_a_slice() {
        let whole = entry(200, &[FRESH], "0123456789");
        for (range, content, body) in [
            ("bytes=0-1", "bytes 0-1/10", "01"),
            ("bytes=8-", "bytes 8-9/10", "89"),
            ("bytes=-3", "bytes 7-9/10", "789"),
            ("bytes=5-99999999999999999999", "", "whole"),
            ("bytes=5-99", "bytes 5-9/10", "56789"),
            ("bytes=-99", "bytes 0-9/10", "0123456789"),
            ("bytes=90-, 1-1", "bytes 1-1/10", "1"),
        ] {
            let (_, said, sent) = answer(&whole, &[("range", range)]);
            assert_eq!((&*said, &*sent), (content, body), "{range}");
        }
        for none in ["bytes=10-", "bytes=-0", "bytes=10-12"] {
            let refused = (416, "bytes */10".to_owned(), String::new());
            assert_eq!(answer(&whole, &[("range", none)]), refused, "{none}");
        }
        for all in
            ["bytes=", "bytes=2-1", "bytes=a-b", "items=0-1", "bytes=0-1, x", "bytes=0-0,0-9"]
        {
            assert_eq!(answer(&whole, &[("range", all)]).2, "whole", "{all}");
        }
        let many = "bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8,9-9,0-0,0-0,0-0,0-0,0-0,0-0,0-0";
        assert_eq!(answer(&whole, &[("range", many)]).2, "whole");
    }

    #[test]
    fn several_ranges_are_a_multipart() {
        let whole = entry(200, &[FRESH, ("content-type", "text/plain")], "0123456789");
        let (status, range, body) = answer(&whole, &[("range", "bytes=0-1, -2")]);
        assert_eq!((status, &*range), (206, ""));
        let parts: Vec<_> = body.split("\r\n").filter(|line| !line.starts_with("--")).collect();
        assert_eq!(
            parts,
            [
                "Content-Type: text/plain",
                "Content-Range: bytes 0-1/10",
                "",
                "01",
                "Content-Type: text/plain",
                "Content-Range: bytes 8-9/10",
                "",
                "89",
                "",
            ]
        );
    }

    #[test]
    fn if_range_asks_for_a_strong_validator() {
        let old = ("last-modified", "Sun, 06 Nov 1994 08:48:00 GMT");
        let whole = entry(200, &[FRESH, ("etag", "\"1\""), old], "0123456789");
        let weak = entry(200, &[FRESH, ("etag", "W/\"1\"")], "0123456789");
        let just = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
        let recent = entry(200, &[FRESH, just], "0123456789");
        let asks =
            |entry, condition| answer(entry, &[("range", "bytes=0-0"), ("if-range", condition)]).0;
        assert_eq!(asks(&whole, "\"1\""), 206);
        assert_eq!(asks(&whole, "\"2\""), 200);
        assert_eq!(asks(&whole, old.1), 206);
        assert_eq!(asks(&whole, "Sun, 06 Nov 1994 08:48:01 GMT"), 200);
        assert_eq!(asks(&weak, "W/\"1\""), 200);
        assert_eq!(asks(&recent, just.1), 200);
    }

    fn part(range: &'static str, etag: &'static str, body: &'static str) -> Entry {
        let fields = [FRESH, ("content-range", range), ("etag", etag)];
        let whole = entry(206, &fields, body);
        let (part, len) = Part::of(&headers(&fields)).unwrap();
        assert_eq!(len, body.len() as u64);
        Entry::new(whole.head, whole.body, Some(part), 0)
    }

    #[test]
    fn a_part_answers_what_lies_within_it() {
        let stored = part("bytes 4-8/10", "\"1\"", "45678");
        assert_eq!(answer(&stored, &[("range", "bytes=5-6")]).2, "56");
        assert_eq!(answer(&stored, &[("range", "bytes=4-8")]).1, "bytes 4-8/10");
        for missing in ["bytes=3-5", "bytes=8-", "bytes=-1", "bytes=2-3"] {
            assert_eq!(answer(&stored, &[("range", missing)]).2, "missing", "{missing}");
        }
        assert_eq!(answer(&stored, &[]).2, "missing");
        for unclear in
            ["bytes */10", "bytes 0-1/*", "bytes 1-0/10", "bytes 0-10/10", "items 0-1/10"]
        {
            assert!(Part::of(&headers(&[("content-range", unclear)])).is_none(), "{unclear}");
        }
    }

    #[test]
    fn parts_that_touch_become_one() {
        let a = part("bytes 0-3/10", "\"1\"", "0123");
        let b = part("bytes 4-8/10", "\"1\"", "45678");
        let c = part("bytes 7-9/10", "\"1\"", "789");
        let apart = part("bytes 6-8/10", "\"1\"", "678");
        let other = part("bytes 4-8/10", "\"2\"", "abcde");
        let weak = part("bytes 4-8/10", "W/\"1\"", "45678");
        let (body, joined) = combine(&b, &a, 10).unwrap();
        assert_eq!((&*body, joined), (&b"012345678"[..], Some(Part { first: 0, total: 10 })));
        let joined = Entry::new(a.head.clone(), body, joined, 0);
        assert_eq!(combine(&c, &joined, 10).unwrap(), (Bytes::from_static(b"0123456789"), None));
        for stranger in [&apart, &other, &weak] {
            assert!(combine(stranger, &a, 10).is_none());
        }
        assert_eq!(combine(&b, &part("bytes 5-6/10", "\"1\"", "56"), 10).unwrap().0, "45678");
        let whole = entry(200, &[FRESH, ("etag", "\"1\"")], "0123456789");
        assert_eq!(combine(&b, &whole, 10).unwrap(), (whole.body.clone(), None));
    }

    proptest! {
        #[test]
        fn any_range_is_a_slice_of_the_whole(text in "bytes=[0-9,-]{0,24}") {
            let whole = entry(200, &[FRESH], "0123456789");
            let mut request = HeaderMap::new();
            request.insert(RANGE, HeaderValue::from_str(&text).unwrap());
            let head = whole.head.respond(RECEIVED.now, Line::None);
            if let Selected::Part(response) = select(&whole, &request, head) {
                let single = response.headers().get(CONTENT_RANGE).cloned();
                if let Some((part, len)) = single.and_then(|range| {
                    Part::of(&HeaderMap::from_iter([(CONTENT_RANGE, range)]))
                }) {
                    let (start, end) = (part.first as usize, (part.first + len) as usize);
                    prop_assert_eq!(&response.body()[..], &b"0123456789"[start..end]);
                }
            }
        }

        #[test]
        fn combined_parts_are_the_whole_s_bytes(a in 0_usize..10, b in 0_usize..10, c in 0_usize..10, d in 0_usize..10) {
            let text = b"0123456789";
            let make = |x: usize, y: usize| {
                let (first, last) = (x.min(y), x.max(y));
                let whole = entry(206, &[FRESH, ("etag", "\"1\"")], "");
                let body = Bytes::copy_from_slice(&text[first..=last]);
                Entry::new(whole.head, body, Some(Part { first: first as u64, total: 10 }), 0)
            };
            if let Some((body, part)) = combine(&make(a, b), &make(c, d), u64::MAX) {
                let first = part.map_or(0, |part| part.first as usize);
                prop_assert_eq!(&body[..], &text[first..first + body.len()]);
                prop_assert_eq!(part.is_none(), body.len() == 10);
            }
        }
    }

    #[tokio::test]
    async fn a_slice_shares_the_stored_bytes() {
        let whole = entry(200, &[FRESH], "0123456789");
        let head = whole.head.respond(RECEIVED.now, Line::None);
        let Selected::Part(part) = select(&whole, &headers(&[("range", "bytes=2-3")]), head) else {
            panic!("a part");
        };
        assert_eq!(part.body().as_ptr(), whole.body[2..].as_ptr());
        let body = http_body_util::Full::new(part.into_body());
        assert_eq!(body.collect().await.unwrap().to_bytes(), "23");
    }
}
