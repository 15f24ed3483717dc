//! What records are purged by, as names of a fixed length.

use bartizan_cache::{Purge, Record, StoreKey, What};
use sha2::{Digest, Sha256};

type Label = [u8; 16];

/// All labels of a record, one after the other.
pub(super) fn of(record: &Record) -> Vec<u8> {
    let mut labels = label("resource", &[record.resource.as_bytes()]).to_vec();
    labels.extend(record.tags.iter().flat_map(|tag| label("tag", &[tag.as_bytes()])));
    let origin = origin(&record.uri);
    labels.extend(record.groups.iter().flat_map(|name| group(origin, name)));
    labels
}

/// The name of a record's body: another one for each content, so that no two are ever mixed up.
pub(super) fn body(key: StoreKey, record: &Record) -> Label {
    label("body", &[key.as_bytes(), &record.variant, &record.digest])
}

/// What a purge marks: its kind, and its label or prefix.
pub(super) fn purged(purge: &Purge, resource: Option<StoreKey>) -> (&'static str, Vec<u8>) {
    match (purge.what(), resource) {
        (What::Prefix(prefix), _) => ("prefix", prefix.clone().into()),
        (What::Tag(tag), _) => ("label", label("tag", &[tag.as_bytes()]).into()),
        (What::Group { origin, name }, _) => ("label", group(origin, name).into()),
        (What::Uri(_), Some(key)) => ("label", label("resource", &[key.as_bytes()]).into()),
        // What this does not know, too: rather too much than too little.
        _ => ("all", Vec::new()),
    }
}

fn group(origin: &str, name: &str) -> Label {
    label("group", &[origin.as_bytes(), name.as_bytes()])
}

/// The origin of a URI: scheme and authority.
fn origin(uri: &str) -> &str {
    let start = uri.find("://").map_or(0, |at| at + 3);
    uri[start..].find('/').map_or(uri, |end| &uri[..start + end])
}

fn label(kind: &str, parts: &[&[u8]]) -> Label {
    let mut hash = Sha256::new();
    for part in [kind.as_bytes()].iter().chain(parts) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut label = Label::default();
    label.copy_from_slice(&hash.finalize()[..16]);
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_do_not_run_into_each_other() {
        assert_ne!(label("tag", &[b"ab", b"c"]), label("tag", &[b"a", b"bc"]));
        assert_ne!(label("tag", &[b"a"]), label("group", &[b"a"]));
        assert_eq!(origin("https://a.test/x/y"), "https://a.test");
        assert_eq!(origin("https://a.test"), "https://a.test");
    }
}
