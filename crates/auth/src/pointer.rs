use serde_json::{Map, Value};

/// Where a JSON pointer (RFC 6901) leads: [`Value::pointer`], from the members of an object.
pub(crate) fn find<'a>(members: &'a Map<String, Value>, pointer: &str) -> Option<&'a Value> {
    let path = pointer.strip_prefix('/')?;
    let (first, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
    members.get(&first.replace("~1", "/").replace("~0", "~"))?.pointer(rest)
}
