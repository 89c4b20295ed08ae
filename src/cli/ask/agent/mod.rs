//! The agent that is asked: where it is, how to get in, and what its silence means.

use std::{error::Error as StdError, io, path::PathBuf, time::Duration};

use clap::{
    Args, ValueHint,
    builder::{OsStringValueParser, TypedValueParser},
};
use reqwest::{Method, Response, StatusCode, Url};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    config::{Authorization, BasicAuth, HttpClient, Secret, Source, Tls, units::parse_duration},
    runtime::http::{Caller, Fault as Unanswered},
};

/// Where an agent listens that was told nothing else.
const URL: &str = "http://127.0.0.1:9733";
/// A larger answer is refused. A fleet of 100,000 targets needs a tenth of it, a page at a time.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Of a list, whatever its number of pages; what lies behind is left to a narrower question.
const ITEMS_MAX: usize = 200_000;
/// What the API gives at most in one page.
const PAGE_ITEMS_MAX: usize = 1000;
/// Of an error's text that is repeated to a person.
const DETAIL_LETTERS_MAX: usize = 2000;

#[derive(Args)]
#[command(next_help_heading = "Which agent")]
pub(super) struct Reach {
    /// The admin API of the agent to ask; any member answers for the fleet
    #[arg(long, env = "STARLING_URL", value_name = "URL", value_hint = ValueHint::Url,
        default_value = URL)]
    url: String,
    /// A file with a bearer token
    #[arg(long, env = "STARLING_TOKEN_FILE", value_name = "FILE", value_hint = ValueHint::FilePath,
        value_parser = path_or_nothing())]
    token_file: Option<PathBuf>,
    /// A user's name, instead of a token
    #[arg(long, value_name = "NAME", requires = "password_file")]
    user: Option<String>,
    /// A file with the user's password
    #[arg(long, value_name = "FILE", requires = "user", value_hint = ValueHint::FilePath)]
    password_file: Option<PathBuf>,
    /// Certificates to believe the agent by, instead of the system's
    #[arg(long, env = "STARLING_CA_FILE", value_name = "FILE", value_hint = ValueHint::FilePath,
        value_parser = path_or_nothing())]
    ca_file: Option<PathBuf>,
    /// A client's certificate, where the agent asks for one
    #[arg(long, value_name = "FILE", requires = "key_file", value_hint = ValueHint::FilePath)]
    cert_file: Option<PathBuf>,
    /// And its key
    #[arg(long, value_name = "FILE", requires = "cert_file", value_hint = ValueHint::FilePath)]
    key_file: Option<PathBuf>,
    /// Believe any certificate: whoever sits between can read all, the token too
    #[arg(long)]
    insecure_skip_verify: bool,
    /// How long one answer may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    timeout: Duration,
}

pub(super) struct Agent {
    caller: Caller,
    /// Without a slash at its end.
    base: String,
    timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// A sentence that says what to do.
    pub(super) reason: String,
    /// Of an answer that is none of 2xx.
    pub(super) status: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The agent is starting, stopping or busy: asking again may help.
    NotYet,
    /// Asking again does not help.
    Hopeless,
    /// It was asked and says no: there is no such thing, or it can't be done now.
    No,
}

/// As it came, for programs, and as it is read here.
pub(super) struct Answer<T> {
    pub(super) text: String,
    pub(super) value: T,
}

/// The names and values behind the question mark.
pub(super) type Query<'a> = Vec<(&'a str, String)>;

#[derive(Deserialize)]
struct Problem {
    detail: String,
}

impl Fault {
    pub(super) fn new(kind: Kind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), status: None }
    }
}

impl Agent {
    pub(super) fn new(reach: &Reach) -> Result<Self, Fault> {
        let base = base(&reach.url).map_err(|reason| Fault::new(Kind::Hopeless, reason))?;
        Ok(Self { caller: Caller::new(&reach.client()), base, timeout: reach.timeout })
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &Query<'_>,
    ) -> Result<Answer<T>, Fault> {
        let text = self.ask(Method::GET, path, query, None, self.timeout).await?;
        let value = read(path, &text)?;
        Ok(Answer { text, value })
    }

    /// All pages as one, up to `limit` items.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &Query<'_>,
        limit: Option<usize>,
    ) -> Result<Answer<T>, Fault> {
        let limit = limit.unwrap_or(ITEMS_MAX).min(ITEMS_MAX);
        let mut whole: Option<Value> = None;
        let mut cursor: Option<String> = None;
        loop {
            let have = whole.as_ref().and_then(|whole| whole["items"].as_array());
            let wanted = limit - have.map_or(0, Vec::len);
            let mut query = query.clone();
            query.push(("limit", wanted.clamp(1, PAGE_ITEMS_MAX).to_string()));
            query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let mut page: Value = self.get(path, &query).await?.value;
            cursor = page["next"].as_str().map(str::to_owned);
            match &mut whole {
                None => whole = Some(page),
                Some(whole) => {
                    whole["next"] = page["next"].take();
                    if let (Some(all), Value::Array(more)) =
                        (whole["items"].as_array_mut(), page["items"].take())
                    {
                        // A page without items would be asked for again and again.
                        cursor = cursor.filter(|_| !more.is_empty());
                        all.extend(more);
                    }
                }
            }
            let whole = whole.as_ref().expect("a page was put there");
            let count = whole["items"].as_array().map_or(0, Vec::len);
            if cursor.is_none() || count >= limit {
                let text = whole.to_string();
                return Ok(Answer { value: read(path, &text)?, text });
            }
        }
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer<T>, Fault> {
        let text = self.ask(Method::POST, path, &Query::new(), body, self.timeout).await?;
        let value = read(path, &text)?;
        Ok(Answer { text, value })
    }

    /// An order that is answered in words.
    pub(super) async fn order(&self, path: &str, wait_min: Duration) -> Result<String, Fault> {
        let timeout = self.timeout.max(wait_min);
        self.ask(Method::POST, path, &Query::new(), None, timeout).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        query: &Query<'_>,
        body: Option<&Value>,
        timeout: Duration,
    ) -> Result<String, Fault> {
        let url = format!("{}{path}", self.base);
        let hopeless = |reason| Fault::new(Kind::Hopeless, reason);
        let mut url = Url::parse(&url).map_err(|e| hopeless(format!("`{url}` is no URL: {e}")))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.caller.request(method, url.as_str()).map_err(hopeless)?;
        if let Some(body) = body {
            request = request.json(body);
        }
        let sent = request.timeout(timeout).send().await;
        let answer = sent.map_err(|fault| match fault {
            Unanswered::Failed(error) => self.silence(&error, timeout),
            Unanswered::Unready(reason) | Unanswered::NotNow(reason) => hopeless(reason),
        })?;
        let status = answer.status();
        let text = self.text(answer, timeout).await?;
        if status.is_success() { Ok(text) } else { Err(self.refusal(path, status, &text)) }
    }

    async fn text(&self, mut answer: Response, timeout: Duration) -> Result<String, Fault> {
        let mut bytes = Vec::new();
        while let Some(chunk) =
            answer.chunk().await.map_err(|error| self.silence(&error, timeout))?
        {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                let reason = format!("`{}` answers more than {ANSWER_BYTES_MAX} bytes", self.base);
                return Err(Fault::new(Kind::Hopeless, reason));
            }
            bytes.extend_from_slice(&chunk);
        }
        String::from_utf8(bytes).map_err(|_| {
            let reason = format!("`{}` answers what is no text: is that Starling?", self.base);
            Fault::new(Kind::Hopeless, reason)
        })
    }

    /// Why nothing came back.
    fn silence(&self, error: &reqwest::Error, timeout: Duration) -> Fault {
        let at = &self.base;
        let causes = causes(error);
        let io_kind = causes
            .iter()
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .map(io::Error::kind)
            .next_back();
        if io_kind == Some(io::ErrorKind::ConnectionRefused) {
            let reason = format!(
                "nobody listens at {at}: is starling running there? `--url` or STARLING_URL names \
                 another address"
            );
            return Fault::new(Kind::NotYet, reason);
        }
        if error.is_timeout() {
            let reason = format!(
                "no answer from {at} within {}: `--timeout` waits for longer",
                crate::config::units::print_duration(timeout)
            );
            return Fault::new(Kind::NotYet, reason);
        }
        let why = causes.last().map_or_else(|| error.to_string(), ToString::to_string);
        if causes.iter().any(|cause| cause.to_string().contains("certificate")) {
            let reason = format!(
                "{at} is not believed: {why}: `--ca-file` names the certificate of who signed its, \
                 and `--cert-file` and `--key-file` your own where it asks for one"
            );
            return Fault::new(Kind::Hopeless, reason);
        }
        let hint = match at.split_once("://") {
            Some(("http", _)) => "; if it serves TLS, the URL begins with `https`",
            _ => "; if it serves no TLS, the URL begins with `http`",
        };
        Fault::new(Kind::NotYet, format!("can't ask {at}: {why}{hint}"))
    }

    /// What an answer means that is none of 2xx.
    fn refusal(&self, path: &str, status: StatusCode, text: &str) -> Fault {
        let problem: Option<Problem> = serde_json::from_str(text).ok();
        let told = problem.map_or_else(|| text.trim().to_owned(), |problem| problem.detail);
        let told: String = told.chars().take(DETAIL_LETTERS_MAX).collect();
        let at = &self.base;
        let code = status.as_u16();
        let (kind, reason) = match code {
            401 => (
                Kind::Hopeless,
                format!(
                    "{at} wants to know who asks ({told}): `--token-file`, or `--user` and \
                     `--password-file`"
                ),
            ),
            403 => (Kind::Hopeless, format!("{at} does not allow this: {told}")),
            404 if told.starts_with("nothing is at") => (
                Kind::Hopeless,
                format!("{at} does not know {path}: an older Starling than this one, or none"),
            ),
            404 | 409 => (Kind::No, told),
            429 | 502..=504 => (Kind::NotYet, format!("{at} can't answer now ({code}): {told}")),
            _ => (Kind::Hopeless, format!("{at} answers {code}: {told}")),
        };
        Fault { kind, reason, status: Some(code) }
    }
}

impl Reach {
    fn client(&self) -> HttpClient {
        let inline = |text: &str| Source::Inline(Secret::new(text));
        let basic_auth = self.user.as_ref().map(|user| BasicAuth {
            username: inline(user),
            password: self.password_file.clone().map(Source::File),
        });
        let said =
            |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        let token = said(&self.token_file).filter(|_| self.user.is_none());
        HttpClient {
            basic_auth,
            authorization: token.map(|file| Authorization {
                scheme: "Bearer".to_owned(),
                credentials: Some(Source::File(file)),
            }),
            tls: Tls {
                ca: said(&self.ca_file).map(Source::File),
                cert: self.cert_file.clone().map(Source::File),
                key: self.key_file.clone().map(Source::File),
                insecure_skip_verify: self.insecure_skip_verify,
                ..Tls::default()
            },
            // Elsewhere the credentials would be somebody else's.
            follow_redirects: false,
            ..HttpClient::default()
        }
    }
}

/// From what failed to why, without the error itself: reqwest's names the whole URL.
fn causes(error: &reqwest::Error) -> Vec<&(dyn StdError + 'static)> {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(one) = cause {
        causes.push(one);
        cause = one.source();
    }
    causes
}

/// An empty environment variable says nothing.
fn path_or_nothing() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// `host:port` is enough; a path in front, where a proxy serves it below one, is kept.
fn base(url: &str) -> Result<String, String> {
    let url = match url.trim() {
        "" => URL,
        url => url,
    };
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let expected = "expected one like `http://127.0.0.1:9733`";
    // The URL is not repeated where it may hold a password.
    let parsed = Url::parse(&url).map_err(|e| format!("`--url` is no URL: {e}; {expected}"))?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("`--url` has a password in it, which all users of this host see: `--user` \
                    and `--password-file` keep it from them"
            .to_owned());
    }
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(format!("`--url` begins with `{}://`; {expected}", parsed.scheme()));
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(format!("`--url` has a `?` or a `#` in it; {expected}"));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

fn read<T: DeserializeOwned>(path: &str, text: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| {
        let reason = match error.classify() {
            serde_json::error::Category::Data => format!(
                "the answer of {path} is not as this command knows it ({error}): the agent is \
                 another version, or no Starling; `starling version` tells this one's"
            ),
            _ => format!("the answer of {path} is no JSON ({error}): is that Starling?"),
        };
        Fault::new(Kind::Hopeless, reason)
    })
}

#[cfg(test)]
pub(super) mod tests;
