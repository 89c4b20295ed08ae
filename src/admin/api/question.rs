//! What a client asks for: the parameters of an endpoint of Starling's own, read strictly. A
//! parameter that nobody knows is a mistake, and told as such, with all others.

use std::{
    collections::BTreeMap,
    future::{Ready, ready},
    str::FromStr,
};

use actix_web::{Error, FromRequest, HttpRequest, dev::Payload, error::InternalError};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use url::form_urlencoded;
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use crate::{
    admin::api::answer::problem,
    model::{
        member::{MemberState, NodeId, Roster},
        target::TargetId,
    },
};

/// Rows of an answer that asks for no other number.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1000;
/// A cursor holds a URL, and nothing else that is asked for is longer.
const VALUE_BYTES_MAX: usize = 16 << 10;

/// What an endpoint can be asked. Its parameters are described once, by `IntoParams`; what is not
/// described there is refused.
pub(super) trait Question: IntoParams + Sized {
    /// Takes what it knows out of `given`; faults stay there, and are told together.
    fn read(given: &mut Parameters) -> Self;
}

/// A handler's argument: the question, or the answer 400.
pub(super) struct Asked<Q>(pub(super) Q);

impl<Q: Question + 'static> FromRequest for Asked<Q> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(read(request.query_string()).map(Self).map_err(|fault| {
            let answer = problem(400, &fault);
            InternalError::from_response(fault, answer).into()
        }))
    }
}

fn read<Q: Question>(query: &str) -> Result<Q, String> {
    let mut given = Parameters::of(query);
    let question = Q::read(&mut given);
    let known = Q::into_params(|| Some(ParameterIn::Query));
    given.finish(&known)?;
    Ok(question)
}

/// An endpoint without parameters.
#[derive(IntoParams)]
pub(super) struct Nothing {}

impl Question for Nothing {
    fn read(_: &mut Parameters) -> Self {
        Self {}
    }
}

/// The parameters of one request that were not taken yet, and what is wrong with them.
pub(super) struct Parameters {
    given: BTreeMap<String, String>,
    faults: Vec<String>,
}

impl Parameters {
    fn of(query: &str) -> Self {
        let mut parameters = Self { given: BTreeMap::new(), faults: Vec::new() };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if value.len() > VALUE_BYTES_MAX {
                let found = value.len();
                parameters.faults.push(format!(
                    "`{name}`: expected at most {VALUE_BYTES_MAX} bytes, found {found}"
                ));
            } else if parameters.given.insert(name.to_string(), value.into_owned()).is_some() {
                parameters.faults.push(format!("`{name}`: expected once, found more often"));
            }
        }
        parameters
    }

    fn finish(mut self, known: &[Parameter]) -> Result<(), String> {
        let names: Vec<String> = known.iter().map(|one| format!("`{}`", one.name)).collect();
        let expected = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        for name in self.given.keys() {
            self.faults.push(format!("`{name}`: no such parameter, expected {expected}"));
        }
        if self.faults.is_empty() { Ok(()) } else { Err(self.faults.join("; ")) }
    }

    /// `parse` says what was expected in the place of what it can't read.
    pub(super) fn take<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.given.remove(name)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(expected) => {
                self.faults.push(format!("`{name}`: expected {expected}, found `{text}`"));
                None
            }
        }
    }

    /// A parameter that could be read, and may not be there all the same.
    pub(super) fn refuse(&mut self, name: &str, why: &str) {
        self.faults.push(format!("`{name}`: {why}"));
    }

    /// Any words; none are as if the parameter was not there.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.given.remove(name).filter(|text| !text.is_empty())
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Option<T> {
        self.take(name, |text| {
            let found = words.iter().find(|(word, _)| *word == text);
            found.map(|(_, value)| *value).ok_or_else(|| {
                let words: Vec<String> =
                    words.iter().map(|(word, _)| format!("`{word}`")).collect();
                format!("one of {}", words.join(", "))
            })
        })
    }

    pub(super) fn instant_ms(&mut self, name: &str) -> Option<i64> {
        self.take(name, instant_ms)
    }

    pub(super) fn limit(&mut self) -> usize {
        let parse = |text: &str| {
            let number = usize::from_str(text).ok();
            number
                .filter(|number| (1..=LIMIT_MAX).contains(number))
                .ok_or_else(|| format!("a number from 1 to {LIMIT_MAX}"))
        };
        self.take("limit", parse).unwrap_or(LIMIT)
    }

    /// Where an earlier answer ended, as its `next` says.
    pub(super) fn cursor<T: DeserializeOwned>(&mut self) -> Option<T> {
        self.take("cursor", |text| {
            opened(text)
                .ok_or_else(|| "what an answer to the same question gave as `next`".to_owned())
        })
    }
}

/// 16 hexadecimal digits, as lists of targets write them.
pub(super) fn target_id(text: &str) -> Result<TargetId, String> {
    let id = if is_hex(text, 16) { u64::from_str_radix(text, 16).ok() } else { None };
    id.map(TargetId).ok_or_else(|| "16 hexadecimal digits in lower case".to_owned())
}

/// A member by its id, also one that is forgotten, or by the name of one that is known.
pub(in crate::admin) fn node_id(text: &str, roster: &Roster) -> Result<NodeId, String> {
    if is_hex(text, 32)
        && let Ok(id) = u128::from_str_radix(text, 16)
    {
        return Ok(NodeId(id));
    }
    // Of several of one name, the one that lives.
    let mut named: Vec<_> = roster.members.values().filter(|one| one.name == text).collect();
    named.sort_by_key(|one| match one.state {
        MemberState::Alive => 0,
        MemberState::Suspect => 1,
        MemberState::Left | MemberState::Dead => 2,
    });
    named.first().map(|one| one.id).ok_or_else(|| {
        let known: Vec<String> =
            roster.members.values().map(|one| format!("`{}`", one.name)).collect();
        format!("an id of 32 hexadecimal digits, or one of {}", known.join(", "))
    })
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// RFC 3339.
fn instant_ms(text: &str) -> Result<i64, String> {
    let at = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "a time as in `2026-11-21T10:03:00Z`".to_owned())?;
    let ms = at.unix_timestamp_nanos() / 1_000_000;
    i64::try_from(ms).map_err(|_| "a time before the year 10000".to_owned())
}

/// A cursor as clients carry it: of no meaning to them.
pub(super) fn sealed(place: &impl Serialize) -> String {
    let bytes = postcard::to_stdvec(place).expect("a cursor is made of numbers and texts");
    URL_SAFE_NO_PAD.encode(bytes)
}

fn opened<T: DeserializeOwned>(text: &str) -> Option<T> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (place, rest) = postcard::take_from_bytes(&bytes).ok()?;
    rest.is_empty().then_some(place)
}
