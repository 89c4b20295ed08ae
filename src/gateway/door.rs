//! Who may push, for which tenant, and how much: what stands between a request's head and its body.
//! The rules are in `visitor` and `limits`; here they are asked, and passwords compared.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use actix_web::{HttpRequest, http::StatusCode, http::header};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Duration, Instant, timeout},
};

use crate::{
    config::{Ack, MetricsGateway, PushLimits, TenantFrom},
    gateway::{
        limits::{Buckets, Rate, Verdict},
        metrics::{self, Limits, Read, ReplicaLabels, Tenancy, Unread},
        parcel::Promise,
        receive::Certified,
        retry_after::{self, Trouble, retry_after_seconds},
        visitor::{self, Check, Visitor, Visitors, Whose},
    },
    runtime::{
        credentials::Shown,
        passwords::{Outcome, Passwords},
    },
    wire::remote_write::{DecodeError, SeriesLimits, WriteVersion},
};

/// Of the pushes that are under way at once, for all clients together: of each its body, and what was
/// read from it, until the owners have it.
const PUSHES_BYTES_MAX: usize = 128 << 20;
/// So long a body waits for those before it.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(2);

const CROWDED: Refusal = Refusal::Full("too much is being pushed at once");

/// One for all threads that receive.
pub(super) struct Door {
    rules: Mutex<Option<Arc<InForce>>>,
    passwords: Passwords,
    buckets: Mutex<Buckets>,
    room: Arc<Semaphore>,
    /// What the buckets count time from.
    opened: Instant,
}

/// A configuration, and who comes in by it.
struct InForce {
    settings: Arc<MetricsGateway>,
    visitors: Visitors,
}

/// A push that may come in.
pub(super) struct Admitted {
    rules: Arc<InForce>,
    whose: Whose,
}

/// Why a push, or all of it, is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Credentials or the tenant, with the status for it.
    Door(u16, String),
    Malformed(String),
    Unsupported(String),
    TooLarge(String),
    /// The body has not come in time.
    Slow,
    /// More than the tenant's limit.
    TooMuch {
        wait_ms: u64,
    },
    /// There is no room, here or at an owner.
    Full(&'static str),
    /// It passes soon.
    Unavailable(&'static str),
}

impl Door {
    /// # Errors
    /// The system gives no random numbers.
    pub(super) fn new() -> Result<Self, String> {
        Ok(Self {
            rules: Mutex::default(),
            passwords: Passwords::new()?,
            buckets: Mutex::default(),
            room: Arc::new(Semaphore::new(PUSHES_BYTES_MAX)),
            opened: Instant::now(),
        })
    }

    pub(super) async fn admit(
        &self,
        request: &HttpRequest,
        settings: &Arc<MetricsGateway>,
    ) -> Result<Admitted, Refusal> {
        let rules = self.rules(settings);
        let authorization = request.headers().get(header::AUTHORIZATION);
        let shown = Shown::read(authorization.map(header::HeaderValue::as_bytes));
        let certified = request.conn_data::<Certified>().map(|certified| &certified.0);
        let draw = |name: &str, count| self.passwords.draw(name, count);
        let visitor = match rules.visitors.check(&shown, certified, draw) {
            Check::Enter(visitor) => visitor,
            Check::Refused(refusal) => return Err(refusal.into()),
            Check::Password { hash, visitor } => self.ask(&shown, hash, visitor).await?,
        };
        let header = match &settings.tenants.from {
            TenantFrom::Header(name) => request.headers().get(name.as_str()),
            TenantFrom::Label(_)
            | TenantFrom::User
            | TenantFrom::Token
            | TenantFrom::Certificate => None,
        };
        let header = header.map(header::HeaderValue::as_bytes);
        let whose = rules.visitors.tenant_of(&visitor, header)?;
        Ok(Admitted { rules, whose })
    }

    /// Takes `samples` of what the tenant may push, of all members together.
    pub(super) fn may_push(
        &self,
        settings: &MetricsGateway,
        tenant: &str,
        samples: u64,
        members: usize,
    ) -> Result<(), Refusal> {
        let Some(rate) = Rate::of(settings.limits.of(tenant), members) else { return Ok(()) };
        let now_ms = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        match buckets.take(tenant, rate, samples, now_ms) {
            Verdict::Pass => Ok(()),
            Verdict::Wait { ms } => Err(Refusal::TooMuch { wait_ms: ms }),
        }
    }

    /// Room for a body.
    pub(super) async fn room_for(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let room = Arc::clone(&self.room).acquire_many_owned(permits(bytes));
        match timeout(ROOM_WAIT_MAX, room).await {
            Ok(room) => Ok(room.expect("nobody closes the room")),
            Err(_) => Err(CROWDED),
        }
    }

    /// A body's room becomes that of what was read from it, which may be many times larger. Nobody
    /// waits for that: all could wait for each other.
    pub(super) fn resize(
        &self,
        mut room: OwnedSemaphorePermit,
        bytes: usize,
    ) -> Result<OwnedSemaphorePermit, Refusal> {
        let (had, wanted) = (room.num_permits(), permits(bytes));
        if let Some(excess) = had.checked_sub(wanted as usize) {
            drop(room.split(excess));
            return Ok(room);
        }
        let missing = wanted - u32::try_from(had).expect("no more is given away");
        let more = Arc::clone(&self.room).try_acquire_many_owned(missing).map_err(|_| CROWDED)?;
        room.merge(more);
        Ok(room)
    }

    async fn ask(
        &self,
        shown: &Shown,
        hash: &str,
        visitor: Option<Visitor>,
    ) -> Result<Visitor, Refusal> {
        let (user, password) = match shown {
            Shown::Basic { user, password } => (user.as_str(), password.as_str()),
            Shown::Nothing | Shown::Bearer(_) | Shown::Unreadable => ("", ""),
        };
        if let Some(visitor) = &visitor
            && self.passwords.remembers(user, password, hash)
        {
            return Ok(visitor.clone());
        }
        match (self.passwords.check(user, password, hash).await, visitor) {
            (Outcome::Right, Some(visitor)) => Ok(visitor),
            (Outcome::Right | Outcome::Wrong, _) => {
                Err(visitor::Refusal::unknown_credentials().into())
            }
            (Outcome::Busy, _) => Err(Refusal::Full("too many passwords are to be checked")),
        }
    }

    fn rules(&self, settings: &Arc<MetricsGateway>) -> Arc<InForce> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = rules.as_ref().filter(|known| Arc::ptr_eq(&known.settings, settings)) {
            return Arc::clone(known);
        }
        let visitors = Visitors::of(settings);
        let new = Arc::new(InForce { settings: Arc::clone(settings), visitors });
        *rules = Some(Arc::clone(&new));
        new
    }
}

impl Admitted {
    pub(super) fn whose(&self) -> &Whose {
        &self.whose
    }

    pub(super) fn limits(&self) -> &PushLimits {
        match &self.whose {
            Whose::Tenant(tenant) => self.rules.settings.limits.of(tenant),
            Whose::EachSeries => &self.rules.settings.limits.all,
        }
    }

    pub(super) fn read(
        &self,
        raw: &[u8],
        version: WriteVersion,
        now_ms: i64,
    ) -> Result<Read, Refusal> {
        let InForce { settings, visitors } = &*self.rules;
        let judge = |value: &str| {
            let tenant = visitors.tenant_of_series(value);
            tenant.map(Arc::from).map_err(|refusal| refusal.reason)
        };
        let tenancy = match (&self.whose, &settings.tenants.from) {
            (Whose::EachSeries, TenantFrom::Label(name)) => {
                Tenancy::ByLabel { name, judge: &judge }
            }
            (Whose::Tenant(tenant), _) => Tenancy::Of(Arc::clone(tenant)),
            (Whose::EachSeries, _) => Tenancy::Of(Arc::from("")),
        };
        let labels_of = |replicas: &'_ crate::config::Replicas| {
            (replicas.cluster_label.clone(), replicas.replica_label.clone())
        };
        let names = settings.replicas.as_ref().map(labels_of);
        let terms = metrics::Terms {
            version,
            tenancy,
            limits: limits_of(self.limits()),
            rules: &settings.relabel,
            replicas: names.as_ref().map(|(cluster, replica)| ReplicaLabels { cluster, replica }),
            pipeline: settings.pipeline_digest(),
            promise: match settings.ack {
                Ack::Durable => Promise::Durable,
                Ack::Memory => Promise::Memory,
                Ack::Replicated => Promise::Replicated,
            },
            now_ms,
        };
        metrics::read(raw, &terms).map_err(|fault| match fault {
            Unread::Malformed(fault @ DecodeError::TooLarge(_)) => {
                Refusal::TooLarge(fault.to_string())
            }
            Unread::Malformed(fault) => Refusal::Malformed(fault.to_string()),
            too_many @ (Unread::TooManySeries { .. } | Unread::TooManySamples { .. }) => {
                Refusal::TooLarge(too_many.to_string())
            }
        })
    }
}

/// What is larger than the room has it for itself.
fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes.clamp(1, PUSHES_BYTES_MAX)).expect("it is below 4 GiB")
}

fn limits_of(limits: &PushLimits) -> Limits {
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Limits {
        series: SeriesLimits {
            labels_max: limits.labels_max,
            name_bytes_max: limits.label_name_bytes_max,
            value_bytes_max: limits.label_value_bytes_max,
        },
        series_max: limits.series_max,
        samples_max: limits.samples_max,
        past_ms_max: ms(limits.age_max),
        future_ms_max: ms(limits.ahead_max),
    }
}

impl Refusal {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Door(status, _) => {
                StatusCode::from_u16(*status).unwrap_or(StatusCode::UNAUTHORIZED)
            }
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Unsupported(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::TooMuch { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Full(_) | Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// In seconds; `retry_attempt` is what the sender says of how often it has tried.
    pub(super) fn retry_after(&self, retry_attempt: Option<&[u8]>) -> Option<u32> {
        let trouble = match self {
            Self::TooMuch { wait_ms } => {
                let seconds = u32::try_from(wait_ms.div_ceil(1000)).unwrap_or(u32::MAX);
                let overload = Trouble::Overload { attempt: retry_after::attempt(retry_attempt) };
                return Some(seconds.max(retry_after_seconds(overload, &mut rand::rng())));
            }
            Self::Full(_) => Trouble::Overload { attempt: retry_after::attempt(retry_attempt) },
            Self::Unavailable(_) => Trouble::Passing,
            Self::Door(..)
            | Self::Malformed(_)
            | Self::Unsupported(_)
            | Self::TooLarge(_)
            | Self::Slow => return None,
        };
        Some(retry_after_seconds(trouble, &mut rand::rng()))
    }
}

impl From<visitor::Refusal> for Refusal {
    fn from(refusal: visitor::Refusal) -> Self {
        Self::Door(refusal.status, refusal.reason)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Door(_, reason)
            | Self::Malformed(reason)
            | Self::Unsupported(reason)
            | Self::TooLarge(reason) => f.write_str(reason),
            Self::Slow => f.write_str("the body did not come in time"),
            Self::TooMuch { .. } => f.write_str("more samples than this tenant may push"),
            Self::Full(reason) | Self::Unavailable(reason) => f.write_str(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_for_what_was_read() {
        let door = Door::new().unwrap();
        let free = || door.room.available_permits();
        let body = door.room_for(1 << 20).await.unwrap();
        let (read, next) = (100 << 20, 40 << 20);
        let large = door.resize(body, read).unwrap();
        assert_eq!(free(), PUSHES_BYTES_MAX - read);

        let body = door.room_for(1 << 20).await.unwrap();
        assert_eq!(door.resize(body, next).unwrap_err(), CROWDED);
        assert_eq!(free(), PUSHES_BYTES_MAX - read, "who is refused keeps nothing");
        let small = door.resize(large, 10).unwrap();
        assert_eq!(free(), PUSHES_BYTES_MAX - 10);
        drop(small);

        let body = door.room_for(1).await.unwrap();
        let all = door.resize(body, usize::MAX).unwrap();
        assert_eq!(free(), 0, "what is larger has the room for itself");
        drop(all);
        assert_eq!(free(), PUSHES_BYTES_MAX);
    }
}
