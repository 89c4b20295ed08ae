//! A pushed request of remote write to parcels: each series held against the limits, relabelled, named
//! and encoded as the outbox keeps it. Pure.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{
    gateway::parcel::{Kind, Parcel, Piece, Promise, Replica},
    model::{
        identity::TenantKey,
        labels::Labels,
        relabel::{self, Rule},
    },
    wire::remote_write::{
        DecodeError, Family, PushedPoint, PushedSeries, PushedValue, SeriesFault, SeriesLimits,
        WriteVersion, check_labels, encode_pushed_labels, push_kept, read_pushed,
    },
};

/// Faults that are told one by one; more are counted.
const FAULTS_TOLD_MAX: usize = 3;
/// Letters of a metric's name in a message.
const NAME_SHOWN_MAX: usize = 100;
/// Families that one request may tell of; those beyond are passed over.
const FAMILIES_MAX: usize = 100_000;
/// A parcel says of each piece which of so many replicas it is from.
const REPLICAS_MAX: usize = 1_000;

/// By what rules a request is read.
#[derive(Clone)]
pub struct Terms<'a> {
    pub version: WriteVersion,
    pub tenancy: Tenancy<'a>,
    pub limits: Limits,
    pub rules: &'a [Rule],
    /// The labels that tell replicas apart, where that is done.
    pub replicas: Option<ReplicaLabels<'a>>,
    pub pipeline: u64,
    pub promise: Promise,
    /// Of this host, as the senders' timestamps are of theirs.
    pub now_ms: i64,
}

/// Whose the series are.
#[derive(Clone)]
pub enum Tenancy<'a> {
    Of(Arc<str>),
    /// Each series' own label says it, and is taken off.
    ByLabel {
        name: &'a str,
        judge: TenantRule<'a>,
    },
}

/// The tenant that a label's value names, empty where there is no such label, or why it is none.
pub type TenantRule<'a> = &'a dyn Fn(&str) -> Result<Arc<str>, String>;

#[derive(Clone, Copy, Debug)]
pub struct ReplicaLabels<'a> {
    pub cluster: &'a str,
    pub replica: &'a str,
}

/// What a request may have; 0 is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    pub series: SeriesLimits,
    pub series_max: usize,
    pub samples_max: usize,
    /// So far may a timestamp lie behind and ahead of now.
    pub past_ms_max: i64,
    pub future_ms_max: i64,
}

/// What was found in a request.
#[derive(Debug, Default)]
pub struct Read {
    /// One a tenant.
    pub parcels: Vec<Parcel>,
    /// How many exemplars ride with each piece, a list a parcel.
    pub exemplars: Vec<Vec<u32>>,
    /// Series that the rules drop.
    pub dropped: usize,
    pub faults: Faults,
    pub families: Vec<Family>,
}

/// What of a request can't be kept, ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    pub series: usize,
    pub samples: usize,
    /// The first of them.
    told: Vec<String>,
}

/// Why a request is not read at all.
#[derive(Debug, PartialEq)]
pub enum Unread {
    Malformed(DecodeError),
    TooManySeries { max: usize },
    TooManySamples { max: usize },
}

/// Reads a raw message.
///
/// # Errors
/// What makes all of it useless.
pub fn read(raw: &[u8], terms: &Terms<'_>) -> Result<Read, Unread> {
    let mut reader = Reader::new(terms, raw.len());
    let mut families = Vec::new();
    let told = |family| {
        if families.len() < FAMILIES_MAX {
            families.push(family);
        }
    };
    read_pushed(raw, terms.version, |series| reader.take(series), told)
        .map_err(Unread::Malformed)?;
    let mut read = reader.finish()?;
    read.families = families;
    Ok(read)
}

impl Read {
    /// The memory that the parcels take.
    pub fn bytes(&self) -> usize {
        let of_parcel = |parcel: &Parcel| parcel.fields.len() + size_of_val(&*parcel.pieces);
        let parcels: usize = self.parcels.iter().map(of_parcel).sum();
        let exemplars: usize =
            self.exemplars.iter().map(|of_parcel| size_of_val(&**of_parcel)).sum();
        parcels + exemplars
    }
}

impl Faults {
    pub fn is_empty(&self) -> bool {
        self.series == 0 && self.samples == 0
    }

    /// A sample that an owner does not want.
    pub fn add_sample(&mut self, why: &str) {
        self.samples += 1;
        self.tell(why.to_owned());
    }

    fn add_series(&mut self, labels: &[(&str, &str)], why: &impl fmt::Display) {
        self.series += 1;
        if self.told.len() < FAULTS_TOLD_MAX {
            let name = labels.iter().find(|(name, _)| *name == "__name__").map(|(_, value)| *value);
            let place = name.map_or_else(String::new, |name| format!("{}: ", shown(name)));
            self.tell(format!("{place}{why}"));
        }
    }

    fn tell(&mut self, fault: String) {
        if self.told.len() < FAULTS_TOLD_MAX && !self.told.contains(&fault) {
            self.told.push(fault);
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (series, samples) = (self.series, self.samples);
        write!(f, "not all was taken: {series} series and {samples} samples were not; ")?;
        f.write_str(&self.told.join("; "))
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(fault) => fault.fmt(f),
            Self::TooManySeries { max } => write!(f, "more than {max} series in one request"),
            Self::TooManySamples { max } => write!(f, "more than {max} samples in one request"),
        }
    }
}

struct Reader<'a> {
    terms: &'a Terms<'a>,
    /// By tenant.
    growing: BTreeMap<Arc<str>, Growing>,
    read: Read,
    series: usize,
    samples: usize,
    raw_bytes: usize,
    label_blob: Vec<u8>,
}

struct Growing {
    key: TenantKey,
    replicas: Vec<Replica>,
    pieces: Vec<Piece>,
    exemplars: Vec<u32>,
    fields: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn new(terms: &'a Terms<'a>, raw_bytes: usize) -> Self {
        Self {
            terms,
            growing: BTreeMap::new(),
            read: Read::default(),
            series: 0,
            samples: 0,
            raw_bytes,
            label_blob: Vec::new(),
        }
    }

    fn finish(self) -> Result<Read, Unread> {
        let Limits { series_max, samples_max, .. } = self.terms.limits;
        if series_max > 0 && self.series > series_max {
            return Err(Unread::TooManySeries { max: series_max });
        }
        if samples_max > 0 && self.samples > samples_max {
            return Err(Unread::TooManySamples { max: samples_max });
        }
        let mut read = self.read;
        for (tenant, growing) in self.growing {
            let Growing { replicas, pieces, exemplars, mut fields, key: _ } = growing;
            if fields.len() < fields.capacity() / 2 {
                // Most of what was expected is not taken.
                fields.shrink_to_fit();
            }
            read.exemplars.push(exemplars);
            read.parcels.push(Parcel {
                tenant,
                pipeline: self.terms.pipeline,
                promise: self.terms.promise,
                replicas,
                pieces,
                fields: fields.into(),
            });
        }
        Ok(read)
    }

    fn take(&mut self, series: &PushedSeries<'_>) {
        self.series += 1;
        self.samples += series.points.len();
        let Limits { series_max, samples_max, .. } = self.terms.limits;
        if series_max > 0 && self.series > series_max
            || samples_max > 0 && self.samples > samples_max
        {
            return;
        }
        if let Err(fault) = series.check(&self.terms.limits.series) {
            self.read.faults.add_series(&series.labels, &fault);
            return;
        }
        let is_as_it_came = self.terms.rules.is_empty()
            && self.terms.replicas.is_none()
            && matches!(self.terms.tenancy, Tenancy::Of(_));
        if let (true, Tenancy::Of(tenant)) = (is_as_it_came, &self.terms.tenancy) {
            let tenant = Arc::clone(tenant);
            // Metadata stands behind the labels.
            let encoded = series.encoded_labels.filter(|_| series.metadata.is_none());
            self.keep(series, &series.labels, encoded, &tenant, None);
        } else {
            self.reshape(series);
        }
    }

    /// The rules come last: they name what leaves.
    fn reshape(&mut self, series: &PushedSeries<'_>) {
        let mut labels: Labels = series.labels.iter().copied().collect();
        let tenant = match &self.terms.tenancy {
            Tenancy::Of(tenant) => Arc::clone(tenant),
            Tenancy::ByLabel { name, judge } => match judge(labels.get(name)) {
                Ok(tenant) => {
                    labels.remove(name);
                    tenant
                }
                Err(reason) => return self.read.faults.add_series(&series.labels, &reason),
            },
        };
        let replica = self.terms.replicas.and_then(|names| take_replica(&mut labels, names));
        let Some(labels) = relabel::apply(self.terms.rules, labels) else {
            self.read.dropped += 1;
            return;
        };
        let labels: Vec<(&str, &str)> = labels.iter().collect();
        match check_labels(labels.iter().copied(), &self.terms.limits.series) {
            Ok(()) => self.keep(series, &labels, None, &tenant, replica),
            Err(SeriesFault::NoName) if !self.terms.rules.is_empty() => self.read.dropped += 1,
            Err(fault) => self.read.faults.add_series(&labels, &fault),
        }
    }

    /// `encoded` are the labels as they are kept, where somebody has encoded them.
    fn keep(
        &mut self,
        series: &PushedSeries<'_>,
        labels: &[(&str, &str)],
        encoded: Option<&[u8]>,
        tenant: &Arc<str>,
        replica: Option<Replica>,
    ) {
        let Self { terms, read, growing, raw_bytes, label_blob, .. } = self;
        let (label_blob, labels_length) = if let Some(encoded) = encoded {
            (encoded, encoded.len())
        } else {
            let labels = labels.iter().copied();
            let length = encode_pushed_labels(label_blob, labels, series.metadata.as_ref());
            (label_blob.as_slice(), length)
        };
        let own = if let Some(own) = growing.get_mut(tenant) {
            own
        } else {
            // Mostly there is one, and what is kept is about as long as what came.
            let bytes = if growing.is_empty() { *raw_bytes } else { 0 };
            growing.entry(Arc::clone(tenant)).or_insert_with(|| Growing::of(tenant, bytes))
        };
        let key = own.key.series(&label_blob[..labels_length]);
        let replica = own.number_of(replica);
        let has_metadata = series.metadata.is_some();
        let fields = &series.exemplars.fields;
        let mut points = series.points.iter().peekable();
        while let Some(point) = points.next() {
            if let Some(why) = terms.limits.time_fault(point, terms.now_ms) {
                read.faults.samples += 1;
                read.faults.tell(why);
                continue;
            }
            let is_last = points.peek().is_none();
            let exemplars = if is_last { series.exemplars.count } else { 0 };
            let own_fields = if is_last { fields.as_slice() } else { &[] };
            let kind = match point.value {
                PushedValue::Float(_) => Kind::Float,
                PushedValue::Histogram(_) => Kind::Histogram,
            };
            let is_plain =
                kind == Kind::Float && exemplars == 0 && !has_metadata && point.start_ms.is_none();
            let before = own.fields.len();
            push_kept(&mut own.fields, label_blob, Some(point), own_fields);
            own.exemplars.push(exemplars);
            own.pieces.push(Piece {
                series: key.0,
                digest: point.digest(),
                timestamp_ms: point.timestamp_ms,
                bytes: length_of(&own.fields[before..]),
                kind,
                is_plain,
                replica,
            });
        }
        if series.points.is_empty() && series.exemplars.count > 0 {
            let before = own.fields.len();
            push_kept(&mut own.fields, label_blob, None, fields);
            own.exemplars.push(series.exemplars.count);
            own.pieces.push(Piece {
                series: key.0,
                digest: 0,
                timestamp_ms: terms.now_ms,
                bytes: length_of(&own.fields[before..]),
                kind: Kind::Exemplars,
                is_plain: false,
                replica,
            });
        }
    }
}

impl Growing {
    fn of(tenant: &str, fields_bytes: usize) -> Self {
        Self {
            key: TenantKey::of(tenant),
            replicas: Vec::new(),
            pieces: Vec::new(),
            exemplars: Vec::new(),
            fields: Vec::with_capacity(fields_bytes),
        }
    }

    /// 0 is none; so are those beyond the maximum, of which nothing is left out.
    fn number_of(&mut self, replica: Option<Replica>) -> u16 {
        let Some(replica) = replica else { return 0 };
        if let Some(at) = self.replicas.iter().position(|known| *known == replica) {
            return u16::try_from(at + 1).unwrap_or(0);
        }
        if self.replicas.len() >= REPLICAS_MAX {
            return 0;
        }
        self.replicas.push(replica);
        u16::try_from(self.replicas.len()).unwrap_or(0)
    }
}

impl Limits {
    fn time_fault(&self, point: &PushedPoint<'_>, now_ms: i64) -> Option<String> {
        let age_ms = now_ms.saturating_sub(point.timestamp_ms);
        let is_old = self.past_ms_max > 0 && age_ms > self.past_ms_max;
        let is_ahead = self.future_ms_max > 0 && age_ms.saturating_neg() > self.future_ms_max;
        if is_old {
            return Some(format!(
                "a sample is older than the limit of {} s",
                self.past_ms_max / 1000
            ));
        }
        is_ahead.then(|| {
            format!("a sample is more than the limit of {} s ahead", self.future_ms_max / 1000)
        })
    }
}

/// Only a series that has both labels is one of several replicas'.
fn take_replica(labels: &mut Labels, names: ReplicaLabels<'_>) -> Option<Replica> {
    let (cluster, replica) = (labels.get(names.cluster), labels.get(names.replica));
    if cluster.is_empty() || replica.is_empty() {
        return None;
    }
    let replica = Replica { cluster: cluster.into(), replica: replica.into() };
    labels.remove(names.replica);
    Some(replica)
}

fn length_of(field: &[u8]) -> u32 {
    u32::try_from(field.len()).expect("a message that was read is far smaller")
}

fn shown(name: &str) -> &str {
    name.char_indices().nth(NAME_SHOWN_MAX).map_or(name, |(end, _)| &name[..end])
}
