use std::fmt;
use std::time::Duration;

use bartizan_core::Principal;
use serde_json::Value;

use crate::pointer::Pointer;

/// What a caller must be for a request to pass: scopes, roles, claims, tenants and ways of having
/// logged in, put together by [`all`](Self::all), [`any`](Self::any) and [`not`](Self::not).
///
/// Every requirement but [`public`](Self::public) wants a principal, whatever else it says: `not`
/// a bot is somebody. `Display` writes it in one line, as for a list of routes.
///
/// ```
/// use std::time::Duration;
///
/// use bartizan_auth::{Finding, Principal, Requirement};
///
/// let refunds = Requirement::all([
///     Requirement::scope("orders:refund"),
///     Requirement::any([Requirement::role("support"), Requirement::tenant("acme")]),
///     Requirement::not(Requirement::role("trainee")),
/// ]);
/// let alice = Principal::new("alice").with_scopes(["orders:refund"]).with_roles(["support"]);
/// assert_eq!(refunds.judge(Some(&alice), Duration::ZERO), Finding::Met);
/// let trainee = alice.with_roles(["support", "trainee"]);
/// assert_eq!(refunds.judge(Some(&trainee), Duration::ZERO), Finding::Lacking);
/// assert_eq!(refunds.judge(None, Duration::ZERO), Finding::Unknown);
/// assert_eq!(
///     refunds.to_string(),
///     "all(scope:orders:refund, any(role:support, tenant:acme), not(role:trainee))"
/// );
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Requirement {
    node: Node,
    /// It takes the time to judge.
    timed: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Public,
    Caller,
    Scope(String),
    Role(String),
    Tenant(String),
    Subject(String),
    Claim { at: Pointer, value: Value },
    Acr(Vec<String>),
    Mfa,
    MaxAge(Duration),
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
}

/// What a [`Requirement`] says of a caller.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Finding {
    /// All that is required is there.
    Met,
    /// There is no principal: 401.
    Unknown,
    /// Only the way of having logged in falls short, and logging in again can mend it: 401 with
    /// `insufficient_user_authentication` (RFC 9470 §3).
    StepUp,
    /// Something else is lacking: 403 with `insufficient_scope` (RFC 6750 §3.1).
    Lacking,
}

impl Requirement {
    fn of(node: Node) -> Self {
        Self { timed: node.has_age(), node }
    }

    /// Anyone, known or not.
    pub const fn public() -> Self {
        Self { node: Node::Public, timed: false }
    }

    /// Anyone who is known.
    pub const fn caller() -> Self {
        Self { node: Node::Caller, timed: false }
    }

    /// Who was granted this scope.
    pub fn scope(scope: impl Into<String>) -> Self {
        Self::of(Node::Scope(scope.into()))
    }

    /// Who has this role.
    pub fn role(role: impl Into<String>) -> Self {
        Self::of(Node::Role(role.into()))
    }

    /// Who belongs to this tenant.
    pub fn tenant(tenant: impl Into<String>) -> Self {
        Self::of(Node::Tenant(tenant.into()))
    }

    /// This one caller.
    pub fn subject(subject: impl Into<String>) -> Self {
        Self::of(Node::Subject(subject.into()))
    }

    /// Whose claim, where the JSON pointer `at` leads (RFC 6901), is `value`, or is an array that
    /// holds it. A pointer that does not begin with `/` leads nowhere.
    pub fn claim(at: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::of(Node::Claim { at: Pointer::new(at), value: value.into() })
    }

    /// Who logged in by one of these authentication context classes (`acr`). Who did not is asked
    /// to step up (RFC 9470).
    pub fn acr<T: Into<String>>(classes: impl IntoIterator<Item = T>) -> Self {
        Self::of(Node::Acr(classes.into_iter().map(Into::into).collect()))
    }

    /// Who logged in by more than one factor: `amr` holds `mfa` (RFC 8176). Who did not is asked
    /// to step up.
    pub const fn mfa() -> Self {
        Self { node: Node::Mfa, timed: false }
    }

    /// Who logged in (`auth_time`) no longer than `age` ago. Who did is asked to step up.
    pub const fn max_age(age: Duration) -> Self {
        Self { node: Node::MaxAge(age), timed: true }
    }

    /// Who meets all of these; of none, any caller.
    pub fn all(requirements: impl IntoIterator<Item = Self>) -> Self {
        Self::of(Node::All(requirements.into_iter().map(|one| one.node).collect()))
    }

    /// Who meets one of these; of none, nobody.
    pub fn any(requirements: impl IntoIterator<Item = Self>) -> Self {
        Self::of(Node::Any(requirements.into_iter().map(|one| one.node).collect()))
    }

    /// The caller who does not meet `requirement`.
    #[allow(clippy::should_implement_trait, reason = "beside `all` and `any`")]
    pub fn not(requirement: Self) -> Self {
        Self::of(Node::Not(Box::new(requirement.node)))
    }

    /// Who meets this one and `other`.
    pub fn and(self, other: Self) -> Self {
        Self::of(match (self.node, other.node) {
            // Who may be anyone demands nothing; that somebody calls is a part of all other demands.
            (Node::Public, other) | (other, Node::Public) | (Node::Caller, other) => other,
            (Node::All(mut all), other) => {
                all.push(other);
                Node::All(all)
            }
            (this, other) => Node::All(vec![this, other]),
        })
    }

    /// Judges a caller at `now`, the time since 1970, of which only
    /// [`max_age`](Self::max_age) takes notice.
    #[must_use]
    pub fn judge(&self, principal: Option<&Principal>, now: Duration) -> Finding {
        if matches!(self.node, Node::Public) {
            return Finding::Met;
        }
        let Some(principal) = principal else { return Finding::Unknown };
        let holds = |logged_in| self.node.holds(&Caller { principal, now, logged_in });
        if holds(false) {
            Finding::Met
        } else if self.node.asks_for_login() && holds(true) {
            Finding::StepUp
        } else {
            Finding::Lacking
        }
    }
}

/// Who is judged.
#[derive(Clone, Copy)]
struct Caller<'a> {
    principal: &'a Principal,
    now: Duration,
    /// Takes every demand on the login as met.
    logged_in: bool,
}

impl Node {
    #[inline]
    fn holds(&self, caller: &Caller<'_>) -> bool {
        match self {
            Self::Scope(scope) => caller.principal.has_scope(scope),
            Self::Role(role) => caller.principal.has_role(role),
            other => other.holds_otherwise(caller),
        }
    }

    // Apart, so that what is asked for most does not pay for the room that all else takes.
    #[inline(never)]
    fn holds_otherwise(&self, caller: &Caller<'_>) -> bool {
        let Caller { principal, now, logged_in } = *caller;
        let claim = |name| principal.claims().get(name);
        match self {
            Self::Scope(_) | Self::Role(_) => self.holds(caller),
            Self::Public | Self::Caller => true,
            Self::Tenant(tenant) => principal.tenant() == Some(tenant),
            Self::Subject(subject) => principal.subject() == subject,
            Self::Claim { at, value } => at.find(principal.claims()).is_some_and(|found| {
                found == value || found.as_array().is_some_and(|all| all.contains(value))
            }),
            Self::Acr(classes) => {
                logged_in
                    || claim("acr")
                        .and_then(Value::as_str)
                        .is_some_and(|acr| classes.iter().any(|class| class == acr))
            }
            Self::Mfa => {
                logged_in
                    || claim("amr")
                        .and_then(Value::as_array)
                        .is_some_and(|ways| ways.iter().any(|way| way == "mfa"))
            }
            Self::MaxAge(age) => {
                logged_in
                    || claim("auth_time")
                        .and_then(Value::as_f64)
                        .is_some_and(|at| now.as_secs_f64() - at <= age.as_secs_f64())
            }
            Self::All(nodes) => nodes.iter().all(|node| node.holds(caller)),
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(caller)),
            // A login that must not be cannot be mended by another.
            Self::Not(node) => !node.holds(&Caller { logged_in: false, ..*caller }),
        }
    }

    fn asks_for_login(&self) -> bool {
        self.parts().any(|node| matches!(node, Self::Acr(_) | Self::Mfa | Self::MaxAge(_)))
    }

    /// This node and all within it that are not denied.
    fn parts(&self) -> impl Iterator<Item = &Self> {
        let mut left = vec![self];
        std::iter::from_fn(move || {
            let node = left.pop()?;
            if let Self::All(nodes) | Self::Any(nodes) = node {
                left.extend(nodes.iter().rev());
            }
            Some(node)
        })
    }

    fn has_age(&self) -> bool {
        match self {
            Self::MaxAge(_) => true,
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().any(Self::has_age),
            Self::Not(node) => node.has_age(),
            _ => false,
        }
    }
}

/// What the challenges to a requirement say.
#[derive(Debug)]
pub(crate) struct Terms {
    /// The scopes, by spaces (RFC 6750 §3).
    pub(crate) scopes: String,
    /// The authentication context classes, by spaces (RFC 9470 §3).
    pub(crate) acr_values: String,
    /// The seconds since the login (RFC 9470 §3).
    pub(crate) max_age: Option<String>,
}

impl Requirement {
    pub(crate) fn terms(&self) -> Terms {
        let (mut scopes, mut classes) = (Vec::new(), Vec::new());
        let mut most: Option<Duration> = None;
        for node in self.node.parts() {
            match node {
                Node::Scope(scope) if !scopes.contains(&&**scope) => scopes.push(&**scope),
                Node::Acr(named) => classes.extend(named.iter().map(|class| &**class)),
                Node::MaxAge(age) => most = Some(most.map_or(*age, |most| most.min(*age))),
                _ => {}
            }
        }
        Terms {
            scopes: scopes.join(" "),
            acr_values: classes.join(" "),
            max_age: most.map(|age| age.as_secs().to_string()),
        }
    }

    /// True if it takes the time to judge.
    pub(crate) const fn is_timed(&self) -> bool {
        self.timed
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.node.fmt(f)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, name, nodes: &[Self]| {
            write!(f, "{name}(")?;
            for (index, node) in nodes.iter().enumerate() {
                write!(f, "{}{node}", if index == 0 { "" } else { ", " })?;
            }
            f.write_str(")")
        };
        match self {
            Self::Public => f.write_str("public"),
            Self::Caller => f.write_str("caller"),
            Self::Scope(scope) => write!(f, "scope:{scope}"),
            Self::Role(role) => write!(f, "role:{role}"),
            Self::Tenant(tenant) => write!(f, "tenant:{tenant}"),
            Self::Subject(subject) => write!(f, "subject:{subject}"),
            Self::Claim { at, value } => write!(f, "claim:{}={value}", at.as_str()),
            Self::Acr(classes) => write!(f, "acr:{}", classes.join("|")),
            Self::Mfa => f.write_str("mfa"),
            Self::MaxAge(age) => write!(f, "max_age:{}s", age.as_secs()),
            Self::All(nodes) => list(f, "all", nodes),
            Self::Any(nodes) => list(f, "any", nodes),
            Self::Not(node) => write!(f, "not({node})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: Duration = Duration::from_secs(10_000);

    fn alice(claims: &Value) -> Principal {
        Principal::new("alice")
            .with_tenant("acme")
            .with_scopes(["read", "write"])
            .with_roles(["admin"])
            .with_claims(claims.as_object().unwrap().clone())
    }

    fn judge(requirement: &Requirement, claims: &Value) -> Finding {
        requirement.judge(Some(&alice(claims)), NOW)
    }

    #[test]
    fn leaves_look_at_one_thing_each() {
        let met = [
            Requirement::public(),
            Requirement::caller(),
            Requirement::scope("read"),
            Requirement::role("admin"),
            Requirement::tenant("acme"),
            Requirement::subject("alice"),
            Requirement::claim("/department", "finance"),
            Requirement::claim("/groups", "eu"),
            Requirement::claim("/groups/1", "us"),
            Requirement::claim("/a~1b/c~0d", 7),
            Requirement::all([]),
        ];
        let claims = json!({"department": "finance", "groups": ["eu", "us"], "a/b": {"c~d": 7}});
        for requirement in met {
            assert_eq!(judge(&requirement, &claims), Finding::Met, "{requirement}");
        }
        let lacking = [
            Requirement::scope("rea"),
            Requirement::role("Admin"),
            Requirement::tenant("other"),
            Requirement::subject("bob"),
            Requirement::claim("/department", "eu"),
            Requirement::claim("department", "finance"),
            Requirement::claim("/groups/2", "us"),
            Requirement::claim("", json!({})),
            Requirement::claim("/a~1b/c~0d", "7"),
            Requirement::any([]),
        ];
        for requirement in lacking {
            assert_eq!(judge(&requirement, &claims), Finding::Lacking, "{requirement}");
            let denied = Requirement::not(requirement);
            assert_eq!(judge(&denied, &claims), Finding::Met, "{denied}");
        }
    }

    #[test]
    fn only_what_is_public_is_for_anyone() {
        assert_eq!(Requirement::public().judge(None, NOW), Finding::Met);
        let known = [
            Requirement::caller(),
            Requirement::not(Requirement::role("bot")),
            Requirement::all([]),
            Requirement::any([Requirement::public(), Requirement::scope("a")]),
            Requirement::caller().and(Requirement::public()),
            Requirement::public().and(Requirement::caller()),
            Requirement::scope("a").and(Requirement::public()),
        ];
        for requirement in known {
            assert_eq!(requirement.judge(None, NOW), Finding::Unknown, "{requirement}");
        }
    }

    #[test]
    fn rfc_9470_section_3_a_login_that_falls_short_is_told_from_a_lack() {
        let strong = Requirement::acr(["phr", "phrh"]);
        assert_eq!(judge(&strong, &json!({"acr": "phr"})), Finding::Met);
        for claims in [json!({}), json!({"acr": "pwd"}), json!({"acr": ["phr"]})] {
            assert_eq!(judge(&strong, &claims), Finding::StepUp, "{claims}");
        }
        let fresh = Requirement::max_age(Duration::from_secs(300));
        assert_eq!(judge(&fresh, &json!({"auth_time": 9_700})), Finding::Met);
        assert_eq!(judge(&fresh, &json!({"auth_time": 9_699})), Finding::StepUp);
        assert_eq!(judge(&fresh, &json!({"auth_time": "9999"})), Finding::StepUp);
        assert_eq!(judge(&Requirement::mfa(), &json!({"amr": ["pwd", "mfa"]})), Finding::Met);
        assert_eq!(judge(&Requirement::mfa(), &json!({"amr": ["pwd"]})), Finding::StepUp);

        // A better login would not give the scope; and would not take a login back.
        let both = Requirement::scope("refund").and(strong.clone());
        assert_eq!(judge(&both, &json!({})), Finding::Lacking);
        let without = Requirement::not(strong.clone());
        assert_eq!(judge(&without, &json!({"acr": "phr"})), Finding::Lacking);
        let either = Requirement::any([Requirement::scope("refund"), strong]);
        assert_eq!(judge(&either, &json!({})), Finding::StepUp);
    }

    #[test]
    fn challenges_say_what_is_asked_for() {
        let requirement = Requirement::all([
            Requirement::scope("a"),
            Requirement::any([Requirement::scope("b"), Requirement::scope("a")]),
            Requirement::not(Requirement::scope("c")),
            Requirement::acr(["phr", "phrh"]),
            Requirement::max_age(Duration::from_secs(600)),
            Requirement::max_age(Duration::from_secs(300)),
        ]);
        let terms = requirement.terms();
        assert_eq!((&*terms.scopes, &*terms.acr_values), ("a b", "phr phrh"));
        assert_eq!((terms.max_age.as_deref(), requirement.is_timed()), (Some("300"), true));
        assert!(Requirement::not(Requirement::max_age(Duration::ZERO)).is_timed());
        assert!(!Requirement::caller().is_timed());
    }

    #[test]
    fn they_are_written_in_one_line() {
        let requirement = Requirement::caller()
            .and(Requirement::acr(["x", "y"]))
            .and(Requirement::claim("/plan", "gold"))
            .and(Requirement::mfa())
            .and(Requirement::max_age(Duration::from_secs(60)));
        assert_eq!(requirement.to_string(), "all(acr:x|y, claim:/plan=\"gold\", mfa, max_age:60s)");
        assert_eq!(Requirement::any([]).to_string(), "any()");
    }

    fn leaf() -> impl Strategy<Value = Requirement> {
        prop_oneof![
            "[abc]".prop_map(Requirement::scope),
            "[abc]".prop_map(Requirement::role),
            Just(Requirement::caller()),
            Just(Requirement::public()),
        ]
    }

    fn tree() -> impl Strategy<Value = Requirement> {
        leaf().prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(one, other)| one.and(other)),
                prop::collection::vec(inner.clone(), 0..4).prop_map(Requirement::all),
                prop::collection::vec(inner.clone(), 0..4).prop_map(Requirement::any),
                inner.prop_map(Requirement::not),
            ]
        })
    }

    proptest! {
        /// De Morgan's laws hold, and no finding is anything but yes or no without a login.
        #[test]
        fn it_is_an_algebra(
            parts in prop::collection::vec(tree(), 0..4), scopes in "[abc]{0,2}", roles in "[abc]{0,2}",
        ) {
            let letters = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
            let caller = Principal::new("a").with_scopes(letters(&scopes)).with_roles(letters(&roles));
            let met = |requirement: &Requirement| {
                let finding = requirement.judge(Some(&caller), NOW);
                assert!(matches!(finding, Finding::Met | Finding::Lacking));
                finding == Finding::Met
            };
            let not_all = Requirement::not(Requirement::all(parts.clone()));
            let any_not = Requirement::any(parts.clone().into_iter().map(Requirement::not));
            prop_assert_eq!(met(&not_all), met(&any_not));
            prop_assert_eq!(met(&Requirement::all(parts.clone())), parts.iter().all(met));
            prop_assert_eq!(met(&Requirement::any(parts.clone())), parts.iter().any(met));
        }

        /// Nobody gets past both who would not get past each.
        #[test]
        fn and_opens_no_door(
            one in prop_oneof![leaf(), tree()], other in prop_oneof![leaf(), tree()],
            scopes in "[abc]{0,2}",
        ) {
            let caller = Principal::new("a").with_scopes(scopes.chars().map(String::from));
            let both = one.clone().and(other.clone());
            for caller in [Some(&caller), None] {
                let met = |requirement: &Requirement| requirement.judge(caller, NOW) == Finding::Met;
                prop_assert_eq!(met(&both), met(&one) && met(&other), "{}", both);
            }
        }
    }
}
