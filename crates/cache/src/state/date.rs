//! Dates in fields (RFC 9110 §5.6.7), read as a cache is to read them (RFC 9111 §4.2).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName};

/// The longest date: `Wednesday, 09-Nov-94 08:49:37 GMT`.
const LONGEST: usize = 33;

const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// The date, since 1970, of a field that has exactly one valid value.
pub(crate) fn date(headers: &HeaderMap, name: HeaderName) -> Option<Duration> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let date = httpdate::parse_http_date(value).ok().or_else(|| loosely(value))?;
    date.duration_since(UNIX_EPOCH).ok()
}

/// A date in any case, as a cache should match it (RFC 9111 §4.2), and with the name of any day:
/// which day it is, the date itself says. All else is as strict as ever.
fn loosely(value: &str) -> Option<SystemTime> {
    if value.len() > LONGEST {
        return None;
    }
    let value = in_usual_case(value);
    let (named, rest) = value.split_at(value.find(|next: char| !next.is_ascii_alphabetic())?);
    let is_short = named.len() == 3;
    let names = DAYS.map(|day| if is_short { &day[..3] } else { day });
    if !names.contains(&named) {
        return None;
    }
    // The parser holds the name against the date, so that one of them is right.
    names.iter().find_map(|name| httpdate::parse_http_date(&format!("{name}{rest}")).ok())
}

/// Words with one capital, and the zone in capitals.
fn in_usual_case(value: &str) -> String {
    let mut in_word = false;
    let usual = value.chars().map(|next| {
        let cased = if in_word { next.to_ascii_lowercase() } else { next.to_ascii_uppercase() };
        in_word = next.is_ascii_alphabetic();
        cased
    });
    let mut value: String = usual.collect();
    if value.ends_with(" Gmt") {
        value.replace_range(value.len() - 3.., "GMT");
    }
    value
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::EXPIRES;
    use proptest::prelude::*;

    use super::*;

    fn read(value: &str) -> Option<u64> {
        let fields = HeaderMap::from_iter([(EXPIRES, HeaderValue::from_str(value).unwrap())]);
        date(&fields, EXPIRES).map(|date| date.as_secs())
    }

    #[test]
    fn case_does_not_matter_to_a_cache_rfc_9111_4_2() {
        for value in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "SUN, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 NOV 1994 08:49:37 GMT",
            "sun, 06 nov 1994 08:49:37 gMT",
            "sunday, 06-nov-94 08:49:37 gmt",
            "SUN NOV  6 08:49:37 1994",
        ] {
            assert_eq!(read(value), Some(784_111_777), "{value}");
        }
    }

    #[test]
    fn the_date_says_which_day_it_is_rfc_9110_5_6_7() {
        for value in [
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Thursday, 06-Nov-94 08:49:37 GMT",
            "Sat Nov  6 08:49:37 1994",
        ] {
            assert_eq!(read(value), Some(784_111_777), "{value}");
        }
    }

    #[test]
    fn nothing_else_is_overlooked() {
        for wrong in [
            "",
            "0",
            "sun",
            "Son, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06 Nov 1994 08:49:37 GMT",
            "sun, 06 nov 1994 08:49:37 utc",
            "sun, 06 nov 1994 08:49:37gmt",
            "sun, 06 nov 94 08:49:37 gmt",
            "sun, 31 feb 1994 08:49:37 gmt",
            "sun,  06 nov 1994 08:49:37 gmt",
            "sun, 06 nov 1994 8:49:37 gmt",
            "sun, 06 nov 1994 08:49:60 gmt",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_date_or_none(value in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let _ = date(&HeaderMap::from_iter([(EXPIRES, value)]), EXPIRES);
            }
        }

        #[test]
        fn near_dates_do_not_panic(value in "(Sun|sunday|Wednesday|FRI),? [0-9]{1,2}[ -](Nov|feb)[ -][0-9]{2,4} [0-9]{1,2}:[0-9]{2}:[0-9]{2} ?[GMTUCgmt]{0,3}") {
            read(&value);
        }
    }
}
