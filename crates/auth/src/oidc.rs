use bartizan_core::ConfigError;
use serde_json::Value;

use crate::{Audience, HttpClient, Issuer, Jwks, Jwt};

/// Issuers by OpenID Connect: where their keys are, how they call themselves, and the dialect that
/// their access tokens are written in.
///
/// Each makes a [`Jwt`], whose every rule can still be changed. The presets only spare looking these
/// things up; another issuer is [`Oidc::new`] and a call or two.
///
/// ```no_run
/// use bartizan_auth::{Authenticator, HttpClient, Oidc};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), bartizan_auth::ConfigError> {
/// let client = HttpClient::https()?;
/// let customers = Oidc::auth0("acme.eu.auth0.com", "https://api.acme.example")?;
/// let staff = Oidc::entra("7d3f0c1e-5a0b-4c5e-9d7e-2f6a1b8c9d0e", "api://orders")?;
/// let auth = Authenticator::new("orders")
///     .scheme(customers.jwt(client.clone())?)
///     .scheme(staff.jwt(client)?);
/// # let _ = auth;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Oidc {
    /// Where `/.well-known/openid-configuration` is, or the keys themselves.
    at: At,
    /// How the issuer calls itself in its configuration.
    name: String,
    issuer: Issuer,
    audience: Audience,
    dialect: fn(Jwt, &Audience) -> Jwt,
}

#[derive(Clone, Debug)]
enum At {
    Configuration(String),
    Keys(String),
}

impl Oidc {
    /// An issuer of no dialect in particular: scopes in `scope` or `scp`, roles in `roles`.
    ///
    /// # Errors
    ///
    /// If `issuer` holds a query or fragment (OpenID Connect Discovery 1.0 §3).
    pub fn new(issuer: &str, audience: impl Into<Audience>) -> Result<Self, ConfigError> {
        Self::dialect(issuer, audience, |jwt, _| jwt)
    }

    fn dialect(
        issuer: &str,
        audience: impl Into<Audience>,
        dialect: fn(Jwt, &Audience) -> Jwt,
    ) -> Result<Self, ConfigError> {
        if issuer.contains(['?', '#', '@']) || issuer.contains(char::is_whitespace) {
            return Err(ConfigError::new(
                "issuer",
                "not the name of an issuer",
                "write it as https://host/path, without query and fragment",
            ));
        }
        Ok(Self {
            at: At::Configuration(issuer.to_owned()),
            name: issuer.to_owned(),
            issuer: issuer.into(),
            audience: audience.into(),
            dialect,
        })
    }

    /// Auth0, by the tenant's domain, for an API's identifier. Permissions (RBAC) count as scopes.
    ///
    /// # Errors
    ///
    /// If the domain is none.
    pub fn auth0(domain: &str, audience: impl Into<Audience>) -> Result<Self, ConfigError> {
        // Auth0 writes its name with a slash at the end.
        let issuer = format!("https://{}/", host("domain", domain)?);
        Self::dialect(&issuer, audience, |jwt, _| {
            jwt.scopes_at("/permissions").tenant_at("/org_id")
        })
    }

    /// Okta, by its domain and the identifier of an authorization server, as `default`.
    ///
    /// # Errors
    ///
    /// If one of them is none.
    pub fn okta(
        domain: &str,
        server: &str,
        audience: impl Into<Audience>,
    ) -> Result<Self, ConfigError> {
        let server = segment("server", server)?;
        let issuer = format!("https://{}/oauth2/{server}", host("domain", domain)?);
        Self::dialect(&issuer, audience, |jwt, _| jwt.roles_at("/groups"))
    }

    /// Microsoft Entra ID, tokens of version 2 of one tenant. `tid` is the principal's tenant.
    ///
    /// # Errors
    ///
    /// If the tenant is not an identifier, or stands for many: `common`, `organizations`, `consumers`.
    pub fn entra(tenant: &str, audience: impl Into<Audience>) -> Result<Self, ConfigError> {
        let tenant = segment("tenant", tenant)?;
        let is_many = |name: &&str| name.eq_ignore_ascii_case(tenant);
        if ["common", "organizations", "consumers"].iter().any(is_many) {
            return Err(ConfigError::new(
                "tenant",
                "stands for many, and no token is issued in its name",
                "write the tenant's identifier, or use `Oidc::entra_any_tenant`",
            ));
        }
        let issuer = format!("https://login.microsoftonline.com/{tenant}/v2.0");
        Self::dialect(&issuer, audience, entra)
    }

    /// Microsoft Entra ID for tenants that are not known before, personal accounts among them, each
    /// by the keys that are for it. Whoever is not to be let in must be told apart by the principal's
    /// tenant.
    ///
    /// # Errors
    ///
    /// Never, at present.
    pub fn entra_any_tenant(audience: impl Into<Audience>) -> Result<Self, ConfigError> {
        let base = "https://login.microsoftonline.com/common/v2.0";
        let name = "https://login.microsoftonline.com/{tenantid}/v2.0";
        Ok(Self {
            name: name.to_owned(),
            issuer: Issuer::PerTenant(name.to_owned()),
            ..Self::dialect(base, audience, entra)?
        })
    }

    /// Amazon Cognito, by region and user pool, for a client's identifier. Its access tokens have no
    /// `aud`: the client is in `client_id`, and `token_use` must be `access`. Groups are roles.
    ///
    /// # Errors
    ///
    /// If region or pool are none.
    pub fn cognito(
        region: &str,
        pool: &str,
        client: impl Into<Audience>,
    ) -> Result<Self, ConfigError> {
        let (region, pool) = (segment("region", region)?, segment("pool", pool)?);
        let issuer = format!("https://cognito-idp.{region}.amazonaws.com/{pool}");
        Self::dialect(&issuer, client, |jwt, _| {
            jwt.audience_claim("client_id")
                .require_claim("token_use", "access")
                .roles_at("/cognito:groups")
        })
    }

    /// Keycloak, by the realm's address. Roles of the realm, and of the client that is the audience,
    /// are roles.
    ///
    /// # Errors
    ///
    /// If the address is none.
    pub fn keycloak(realm: &str, audience: impl Into<Audience>) -> Result<Self, ConfigError> {
        Self::dialect(realm, audience, |jwt, audience| {
            // Before version 24 access tokens held a nonce too; but they say what they are.
            let jwt = jwt.refuse_claims(&["at_hash", "c_hash"]).require_claim("typ", "Bearer");
            let jwt = jwt.roles_at("/realm_access/roles");
            let Audience::OneOf(clients) = audience else { return jwt };
            clients.iter().fold(jwt, |jwt, client| {
                let client = client.replace('~', "~0").replace('/', "~1");
                jwt.roles_at(format!("/resource_access/{client}/roles"))
            })
        })
    }

    /// ID tokens of Google, for a client's identifier. Its access tokens are opaque. `hd` is the
    /// principal's tenant.
    ///
    /// # Errors
    ///
    /// Never, at present.
    pub fn google(client: impl Into<Audience>) -> Result<Self, ConfigError> {
        let names = ["https://accounts.google.com", "accounts.google.com"];
        Ok(Self {
            issuer: Issuer::OneOf(names.map(str::to_owned).to_vec()),
            ..Self::dialect(names[0], client, |jwt, _| jwt.accept_id_tokens().tenant_at("/hd"))?
        })
    }

    /// ID tokens of Firebase, by project. With Identity Platform the tenant is the principal's.
    ///
    /// # Errors
    ///
    /// If the project is none.
    pub fn firebase(project: &str) -> Result<Self, ConfigError> {
        let project = segment("project", project)?;
        let issuer = format!("https://securetoken.google.com/{project}");
        Self::dialect(&issuer, project, |jwt, _| {
            jwt.accept_id_tokens().tenant_at("/firebase/tenant")
        })
    }

    /// Supabase, by the project's reference, with asymmetric signing keys. Only tokens of users that
    /// have signed in (`aud` of `authenticated`) are taken; `app_metadata` may hold more roles.
    ///
    /// # Errors
    ///
    /// If the project is none.
    pub fn supabase(project: &str) -> Result<Self, ConfigError> {
        let issuer = format!("https://{}.supabase.co/auth/v1", segment("project", project)?);
        let keys = format!("{issuer}/.well-known/jwks.json");
        Ok(Self {
            at: At::Keys(keys),
            ..Self::dialect(&issuer, "authenticated", |jwt, _| {
                jwt.roles_at("/role").roles_at("/app_metadata/roles")
            })?
        })
    }

    /// Clerk's session tokens, by the frontend API's domain. They have no `aud`: what takes its place
    /// is `azp`, the origin that the token was made for, which must be one of `parties`.
    ///
    /// # Errors
    ///
    /// If the domain is none.
    pub fn clerk<T: Into<String>>(
        domain: &str,
        parties: impl IntoIterator<Item = T>,
    ) -> Result<Self, ConfigError> {
        let issuer = format!("https://{}", host("domain", domain)?);
        let parties = parties.into_iter().map(Into::into).collect();
        Self::dialect(&issuer, Audience::OneOf(parties), |jwt, _| {
            // In version 2 of its tokens, and in version 1.
            jwt.audience_claim("azp")
                .roles_at("/o/rol")
                .roles_at("/org_role")
                .tenant_at("/o/id")
                .or_tenant_at("/org_id")
        })
    }

    /// The scheme: keys are fetched by `client` from now on.
    ///
    /// # Errors
    ///
    /// If the issuer has no https address.
    pub fn jwt(self, client: HttpClient) -> Result<Jwt, ConfigError> {
        let keys = self.jwks(client)?;
        Ok(self.jwt_by(keys))
    }

    /// Where the keys are, to be told when to be fetched, and then handed to [`Oidc::jwt_by`].
    ///
    /// # Errors
    ///
    /// If the issuer has no https address.
    pub fn jwks(&self, client: HttpClient) -> Result<Jwks, ConfigError> {
        match &self.at {
            At::Configuration(base) => Jwks::of_issuer_at(client, base, &self.name),
            At::Keys(uri) => Jwks::new(client, uri),
        }
    }

    /// The scheme, with these keys.
    pub fn jwt_by(self, keys: impl Into<crate::Keys>) -> Jwt {
        let jwt = Jwt::new(keys, self.issuer, self.audience.clone());
        (self.dialect)(jwt, &self.audience)
    }
}

/// Delegated permissions are in `scp`, those of applications in `roles`.
fn entra(jwt: Jwt, _: &Audience) -> Jwt {
    jwt.tenant_at("/tid").require_claim("ver", Value::from("2.0"))
}

fn host<'a>(field: &'static str, name: &'a str) -> Result<&'a str, ConfigError> {
    let is_host = name.contains('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    if is_host {
        return Ok(name);
    }
    Err(ConfigError::new(field, "not a domain", "write it without https:// and slashes"))
}

fn segment<'a>(field: &'static str, name: &'a str) -> Result<&'a str, ConfigError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !name.is_empty() && name.bytes().all(fits) {
        return Ok(name);
    }
    Err(ConfigError::new(field, "not an identifier", "write letters, digits, - and _ only"))
}
