//! Issuers and their dialects, with tokens as each of them writes them.

#![cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod common;

use bartizan_auth::{
    Authenticator, Clock, ConfigError, Decision, HttpClient, Issuer, Jwt, KeySet, Oidc, Principal,
};
use common::issuer::client;
use common::{Signer, claims, jwks};
use http::{HeaderMap, Method};
use serde_json::{Value, json};

struct Bench {
    clock: Clock,
    signer: Signer,
    /// What the key says of its issuer, as Entra's do.
    key_issuer: Value,
}

impl Bench {
    fn new() -> Self {
        // Entra leaves `alg` out of its keys; so does this one.
        let key_issuer = json!("https://login.microsoftonline.com/{tenantid}/v2.0");
        Self { clock: Clock::manual(), signer: Signer::rs(), key_issuer }
    }

    /// Who a token with this change to good claims is of, if it is taken.
    async fn ask(&self, oidc: Result<Oidc, ConfigError>, change: Value) -> Option<Principal> {
        let mut jwk = self.signer.jwk("k");
        jwk["issuer"] = self.key_issuer.clone();
        let keys = KeySet::from_jwks(&jwks(&[jwk])).unwrap();
        let auth =
            Authenticator::new("api").scheme(oidc.unwrap().jwt_by(keys)).clock(self.clock.clone());
        let claims = claims(&self.clock, &change);
        let token = self.signer.sign(&json!({"alg": "RS256", "kid": "k"}), &claims);
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        match auth.decide(&Method::GET, &headers).await {
            Decision::Known(principal) => Some(principal),
            _ => None,
        }
    }
}

fn asked_at(oidc: Result<Oidc, ConfigError>) -> String {
    format!("{:?}", oidc.unwrap().jwks(client()).unwrap())
}

#[tokio::test]
async fn auth0_has_permissions_and_a_slash_at_the_end() {
    let bench = Bench::new();
    let oidc = || Oidc::auth0("acme.eu.auth0.com", "https://api.acme.test");
    let good = json!({
        "iss": "https://acme.eu.auth0.com/", "aud": ["https://api.acme.test", "https://acme.eu.auth0.com/userinfo"],
        "scope": "openid read:orders", "permissions": ["write:orders"], "org_id": "org_1", "azp": "spa",
    });
    let who = bench.ask(oidc(), good).await.unwrap();
    assert_eq!(who.scopes(), ["openid", "read:orders", "write:orders"]);
    assert_eq!(who.tenant(), Some("org_1"));
    let bare = json!({"iss": "https://acme.eu.auth0.com", "aud": "https://api.acme.test"});
    assert!(bench.ask(oidc(), bare).await.is_none());
    let at = asked_at(oidc());
    assert!(at.contains("https://acme.eu.auth0.com/.well-known/openid-configuration"), "{at}");
    for domain in ["https://acme.eu.auth0.com", "acme.eu.auth0.com/", "acme", "a.b@evil.test", ""] {
        assert!(Oidc::auth0(domain, "x").is_err(), "{domain}");
    }
}

#[tokio::test]
async fn okta_has_scp_in_an_array_and_groups() {
    let bench = Bench::new();
    let good = json!({
        "iss": "https://acme.okta.com/oauth2/default", "aud": "api://default", "cid": "app",
        "scp": ["orders:read", "orders:write"], "groups": ["staff"],
    });
    let who =
        bench.ask(Oidc::okta("acme.okta.com", "default", "api://default"), good).await.unwrap();
    assert_eq!(who.scopes(), ["orders:read", "orders:write"]);
    assert_eq!(who.roles(), ["staff"]);
    assert!(Oidc::okta("acme.okta.com", "a/b", "x").is_err());
}

#[tokio::test]
async fn entra_has_scp_as_a_text_roles_and_tenants() {
    let bench = Bench::new();
    let tenant = "7d3f0c1e-5a0b-4c5e-9d7e-2f6a1b8c9d0e";
    let name = format!("https://login.microsoftonline.com/{tenant}/v2.0");
    let good = json!({
        "iss": name, "aud": "api://orders", "tid": tenant, "ver": "2.0", "scp": "Orders.Read Orders.Write",
        "roles": ["Orders.Admin"],
    });
    let who = bench.ask(Oidc::entra(tenant, "api://orders"), good.clone()).await.unwrap();
    assert_eq!(who.scopes(), ["Orders.Read", "Orders.Write"]);
    assert_eq!((who.roles(), who.tenant()), (&["Orders.Admin".to_owned()][..], Some(tenant)));
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let v1 = json!(format!("https://sts.windows.net/{tenant}/"));
    assert!(bench.ask(Oidc::entra(tenant, "api://orders"), with("iss", v1)).await.is_none());
    let v1 = with("ver", json!("1.0"));
    assert!(bench.ask(Oidc::entra(tenant, "api://orders"), v1).await.is_none());

    let any = || Oidc::entra_any_tenant("api://orders");
    assert_eq!(bench.ask(any(), good.clone()).await.unwrap().tenant(), Some(tenant));
    // The name must be that of the tenant in `tid`, and of nothing that only looks like one.
    for tid in
        [json!("another"), json!(null), json!(""), json!(1), json!("{tenantid}"), json!("a/../b")]
    {
        assert!(bench.ask(any(), with("tid", tid.clone())).await.is_none(), "{tid}");
    }
    assert!(asked_at(any()).contains("https://login.microsoftonline.com/common/v2.0/.well-known/"));
    // No single one is called so in its tokens.
    for tenant in ["common", "organizations", "Consumers"] {
        assert!(Oidc::entra(tenant, "api://orders").is_err(), "{tenant}");
    }
    assert!(matches!(Issuer::from("a"), Issuer::OneOf(_)));
}

#[tokio::test]
async fn entra_has_keys_that_are_for_some_tenants_only() {
    let mut bench = Bench::new();
    let (consumers, staff) =
        ("9188040d-6c67-4c5b-b112-36a304b66dad", "7d3f0c1e-5a0b-4c5e-9d7e-2f6a1b8c9d0e");
    let of = |tenant: &str| format!("https://login.microsoftonline.com/{tenant}/v2.0");
    let claims = |tenant: &str| json!({"iss": of(tenant), "aud": "api://orders", "tid": tenant, "ver": "2.0"});
    let any = || Oidc::entra_any_tenant("api://orders");
    for (key_issuer, for_consumers, for_staff) in [
        (json!(of("{tenantid}")), true, true),
        (json!(of(consumers)), true, false),
        (json!(of(staff)), false, true),
        (json!("https://login.microsoftonline.us/{tenantid}/v2.0"), false, false),
        (json!(null), false, false),
        (json!([of(staff)]), false, false),
    ] {
        bench.key_issuer = key_issuer.clone();
        let takes = async |tenant| bench.ask(any(), claims(tenant)).await.is_some();
        let taken = (takes(consumers).await, takes(staff).await);
        assert_eq!(taken, (for_consumers, for_staff), "{key_issuer}");
        // Where it is one tenant's document, it is known whose keys they are.
        let one = bench.ask(Oidc::entra(staff, "api://orders"), claims(staff)).await;
        assert!(one.is_some(), "{key_issuer}");
    }
}

#[tokio::test]
async fn cognito_has_no_audience_and_groups_with_a_colon() {
    let bench = Bench::new();
    let oidc = || Oidc::cognito("eu-west-1", "eu-west-1_Ab1", "app");
    let name = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Ab1";
    let good = json!({
        "iss": name, "aud": null, "client_id": "app", "token_use": "access", "scope": "orders/read",
        "cognito:groups": ["staff", "admins"],
    });
    let who = bench.ask(oidc(), good).await.unwrap();
    assert_eq!(
        (who.scopes(), who.roles()),
        (&["orders/read".to_owned()][..], &["staff".to_owned(), "admins".to_owned()][..])
    );
    for bad in [
        json!({"iss": name, "client_id": "other", "token_use": "access"}),
        json!({"iss": name, "aud": "app", "token_use": "access"}),
        json!({"iss": name, "client_id": "app", "token_use": "id"}),
        json!({"iss": name, "client_id": "app"}),
    ] {
        assert!(bench.ask(oidc(), bad.clone()).await.is_none(), "{bad}");
    }
}

#[tokio::test]
async fn keycloak_has_roles_of_realm_and_client_and_says_what_a_token_is() {
    let bench = Bench::new();
    let oidc = || Oidc::keycloak("https://sso.acme.test/realms/shop", "orders");
    let good = json!({
        "iss": "https://sso.acme.test/realms/shop", "aud": ["orders", "account"], "typ": "Bearer",
        "nonce": "as it was before version 24", "scope": "email profile",
        "realm_access": {"roles": ["staff"]},
        "resource_access": {"orders": {"roles": ["clerk"]}, "other": {"roles": ["root"]}},
    });
    let who = bench.ask(oidc(), good.clone()).await.unwrap();
    assert_eq!(who.roles(), ["staff", "clerk"]);
    let mut id = good;
    id["typ"] = json!("ID");
    assert!(bench.ask(oidc(), id).await.is_none());
}

#[tokio::test]
async fn google_firebase_supabase_and_clerk() {
    let bench = Bench::new();
    for name in ["https://accounts.google.com", "accounts.google.com"] {
        let good = json!({"iss": name, "aud": "app.test", "hd": "acme.test", "nonce": "n", "at_hash": "h"});
        let who = bench.ask(Oidc::google("app.test"), good).await.unwrap();
        assert_eq!(who.tenant(), Some("acme.test"));
    }
    let good = json!({
        "iss": "https://securetoken.google.com/shop-1", "aud": "shop-1", "firebase": {"tenant": "acme"},
    });
    assert_eq!(bench.ask(Oidc::firebase("shop-1"), good).await.unwrap().tenant(), Some("acme"));

    let good = json!({
        "iss": "https://abcd.supabase.co/auth/v1", "aud": "authenticated", "role": "authenticated",
        "app_metadata": {"roles": ["clerk"]},
    });
    let who = bench.ask(Oidc::supabase("abcd"), good).await.unwrap();
    assert_eq!(who.roles(), ["authenticated", "clerk"]);
    assert!(
        asked_at(Oidc::supabase("abcd"))
            .contains("https://abcd.supabase.co/auth/v1/.well-known/jwks.json")
    );

    let clerk = || Oidc::clerk("clerk.acme.test", ["https://app.acme.test"]);
    let good = json!({
        "iss": "https://clerk.acme.test", "aud": null, "azp": "https://app.acme.test",
        "org_id": "org_1", "org_role": "admin",
    });
    let who = bench.ask(clerk(), good).await.unwrap();
    assert_eq!((who.roles(), who.tenant()), (&["admin".to_owned()][..], Some("org_1")));
    let second = json!({
        "iss": "https://clerk.acme.test", "aud": null, "azp": "https://app.acme.test", "v": 2,
        "o": {"id": "org_2", "slg": "acme", "rol": "admin", "per": "read"},
    });
    let who = bench.ask(clerk(), second).await.unwrap();
    assert_eq!((who.roles(), who.tenant()), (&["admin".to_owned()][..], Some("org_2")));
    for azp in [json!("https://evil.test"), json!(null)] {
        let bad = json!({"iss": "https://clerk.acme.test", "aud": null, "azp": azp});
        assert!(bench.ask(clerk(), bad).await.is_none());
    }
}

#[test]
fn names_of_issuers_are_checked() {
    for name in
        ["https://id.test/?a", "https://id.test/#a", "https://a@id.test", "https://id.test /"]
    {
        assert!(Oidc::new(name, "api").is_err(), "{name}");
    }
    let plain: HttpClient = client();
    assert!(Oidc::new("http://id.test", "api").unwrap().jwt(plain).is_err());
    let keys = KeySet::from_jwks(&jwks(&[Signer::ed().jwk("k")])).unwrap();
    let _: Jwt = Oidc::new("https://id.test", "api").unwrap().jwt_by(keys);
}
