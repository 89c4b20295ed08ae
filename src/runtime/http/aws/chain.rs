//! Where keys come from, in the order of AWS' own tools: the settings, a profile that they name, the
//! environment, a web identity, the default profile, the container, the instance. Then, where one is
//! named, as which role.

use aws_credential_types::Credentials;

use crate::{
    config::{SigV4, Source},
    runtime::{
        clock,
        http::{
            aws::{
                Environment, Keys,
                instance::{self, Given, Instance},
                profile::{self, Profile},
                sts::{Role, Sts},
            },
            read,
            renewed::{Fresh, Trouble},
        },
    },
};

/// A profile may name another for its keys, and that one another; more are taken for a circle.
const PROFILES_MAX: usize = 5;

pub(super) struct Chain {
    pub(super) settings: SigV4,
    environment: Environment,
    instance: Instance,
    sts: Sts,
}

type Outcome = Result<Fresh<Credentials>, Trouble>;

impl Chain {
    pub(super) fn new(settings: SigV4, environment: Environment) -> Self {
        let instance = Instance::new(&environment);
        let sts = Sts::new(&settings, &environment);
        Self { settings, environment, instance, sts }
    }

    pub(super) async fn keys(&self) -> Result<Fresh<Keys>, Trouble> {
        let profile = self.profile(self.profile_name())?;
        let region = self.region(&profile).await?;
        let with_region = |fresh: Fresh<Credentials>| Fresh {
            value: Keys { credentials: fresh.value, region: region.clone() },
            life: fresh.life,
        };
        let own = with_region(self.own(&profile, &region).await?);
        let Some(arn) = &self.settings.role_arn else { return Ok(own) };
        let role = Role { arn, session_name: self.session_name() };
        self.sts.assume(&role, &self.settings, &own.value).await.map(with_region)
    }

    fn profile_name(&self) -> &str {
        let named = self.settings.profile.as_deref();
        named.or_else(|| self.environment.get("AWS_PROFILE")).unwrap_or("default")
    }

    fn profile(&self, name: &str) -> Result<Profile, Trouble> {
        profile::profile(&self.environment, name).map_err(Trouble::Lasting)
    }

    fn session_name(&self) -> String {
        let named = self.settings.session_name.clone();
        named.unwrap_or_else(|| format!("starling-{}", clock::now_ms()))
    }

    async fn region(&self, profile: &Profile) -> Result<String, Trouble> {
        let known = self.settings.region.as_deref();
        let known = known.or_else(|| self.environment.get("AWS_REGION"));
        let known = known.or_else(|| self.environment.get("AWS_DEFAULT_REGION"));
        if let Some(region) = known.or_else(|| profile.get("region")) {
            return Ok(region.to_owned());
        }
        let unknown = "region not configured in sigv4 or in default credentials chain";
        match self.instance.region().await {
            Ok(region) if !region.is_empty() => Ok(region),
            Ok(_) => Err(Trouble::Lasting(unknown.to_owned())),
            Err(Trouble::Lasting(reason)) => Err(Trouble::Lasting(format!("{unknown}: {reason}"))),
            Err(Trouble::Passing(reason)) => Err(Trouble::Passing(format!("{unknown}: {reason}"))),
        }
    }

    async fn own(&self, profile: &Profile, region: &str) -> Outcome {
        if let (Some(id), Some(secret)) = (&self.settings.access_key, &self.settings.secret_key) {
            let secret = read(secret).map_err(Trouble::Lasting)?;
            return Ok(lasting(id, &secret, None));
        }
        if let Some(name) = &self.settings.profile {
            if profile.is_empty() {
                return Err(Trouble::Lasting(format!("no profile is called `{name}`")));
            }
            return self.of_profile(profile, name, region).await;
        }
        let environment = &self.environment;
        let pair = (environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY"));
        if let (Some(id), Some(secret)) = pair {
            return Ok(lasting(id, secret, environment.get("AWS_SESSION_TOKEN")));
        }
        let identity =
            (environment.get("AWS_WEB_IDENTITY_TOKEN_FILE"), environment.get("AWS_ROLE_ARN"));
        if let (Some(file), Some(arn)) = identity {
            return self.of_identity(file, arn, region).await;
        }
        if has_keys(profile) {
            return self.of_profile(profile, self.profile_name(), region).await;
        }
        if let Some(outcome) = instance::container(environment).await {
            return outcome.map(given);
        }
        self.instance.keys().await.map(given)
    }

    async fn of_identity(&self, file: &str, arn: &str, region: &str) -> Outcome {
        let token = read(&Source::File(file.into())).map_err(Trouble::Passing)?;
        let named = self.environment.get("AWS_ROLE_SESSION_NAME").map(str::to_owned);
        let session_name = named.unwrap_or_else(|| self.session_name());
        self.sts.assume_with_token(&Role { arn, session_name }, token, region).await
    }

    /// Down to a profile with keys, and then up again through the roles.
    async fn of_profile(&self, profile: &Profile, name: &str, region: &str) -> Outcome {
        let mut roles = Vec::new();
        let (mut profile, mut name) = (profile.clone(), name.to_owned());
        let mut keys = loop {
            let pair = (profile.get("aws_access_key_id"), profile.get("aws_secret_access_key"));
            let source = profile.get("source_profile").map(str::to_owned);
            let role = profile.get("role_arn").map(str::to_owned);
            match (role, source, pair) {
                // One that names itself as its source has keys of its own.
                (Some(role), Some(source), _) if source != name => {
                    roles.push(role);
                    if roles.len() > PROFILES_MAX {
                        let reason = format!("more than {PROFILES_MAX} profiles name each other");
                        return Err(Trouble::Lasting(reason));
                    }
                    profile = self.profile(&source)?;
                    name = source;
                }
                (role, _, (Some(id), Some(secret))) => {
                    roles.extend(role);
                    break lasting(id, secret, profile.get("aws_session_token"));
                }
                (role, _, _) => {
                    let reason = without_keys(&profile, &name, role.is_some());
                    return Err(Trouble::Lasting(reason));
                }
            }
        };
        while let Some(arn) = roles.pop() {
            let own = Keys { credentials: keys.value, region: region.to_owned() };
            let role = Role { arn: &arn, session_name: self.session_name() };
            keys = self.sts.assume(&role, &SigV4::default(), &own).await?;
        }
        Ok(keys)
    }
}

fn has_keys(profile: &Profile) -> bool {
    let keys =
        ["aws_access_key_id", "role_arn", "credential_process", "sso_start_url", "sso_session"];
    keys.into_iter().any(|key| profile.get(key).is_some())
}

fn without_keys(profile: &Profile, name: &str, has_role: bool) -> String {
    let foreign = ["credential_process", "sso_start_url", "sso_session", "credential_source"];
    match foreign.into_iter().find(|key| profile.get(key).is_some()) {
        Some(key) => {
            format!("the profile `{name}` takes its keys by `{key}`, which is not supported")
        }
        None if has_role => format!("the profile `{name}` has a role, and no `source_profile`"),
        None => format!("the profile `{name}` has no keys"),
    }
}

fn lasting(id: &str, secret: &str, session: Option<&str>) -> Fresh<Credentials> {
    let value = Credentials::new(id, secret, session.map(str::to_owned), None, "settings");
    Fresh { value, life: None }
}

fn given(given: Given) -> Fresh<Credentials> {
    let life = given.life();
    let value = Credentials::new(
        given.access_key_id,
        given.secret_access_key,
        given.token,
        None,
        "instance",
    );
    Fresh { value, life }
}
