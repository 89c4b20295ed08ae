//! An answer of HTTP/1.1 as far as a scrape needs it: what its head says, and where its body ends
//! (RFC 9112). Pure: bytes come in as they arrive, in pieces of any size.

use std::mem::MaybeUninit;

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{
        CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, TRANSFER_ENCODING,
    },
};
use httparse::{ParserConfig, Status};

use crate::scrape::{failure::Failure, fetch::body::Encoding};

/// A longer head is none; with what comes before it (1xx).
pub(super) const HEAD_BYTES_MAX: usize = 64 << 10;
/// A head with more lines is none.
const HEADERS_MAX: usize = 100;
/// Of a body in chunks: what is neither its bytes nor their count, which nobody reads.
const CHUNK_NOTES_BYTES_MAX: usize = 16 << 10;

/// What is of interest in a head, whichever HTTP it came by.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) encoding: Result<Encoding, Failure>,
    pub(super) content_type: Option<Box<str>>,
    pub(super) location: Option<Box<str>>,
    /// Of the body, where it is told.
    pub(super) length: Option<u64>,
}

/// The head of an answer of HTTP/1.1.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) answer: Answer,
    pub(super) framing: Framing,
    /// Whether another request may follow on the same connection.
    pub(super) keeps: bool,
    /// How long it is, with what came before it.
    pub(super) bytes: usize,
}

/// How much of the body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked(Chunks),
    UntilClose,
}

/// Where in a body of chunks the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunks {
    at: At,
    notes_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In a count, of which so much is known; `None`: nothing.
    Count(Option<u64>),
    /// Behind the count, before the end of its line.
    Note(u64),
    /// Behind the carriage return of the count's line.
    LineEnd(u64),
    Data(u64),
    DataEnd,
    /// Behind the carriage return that follows a chunk.
    DataLineEnd,
    /// At the first byte of a trailer, or within one.
    Trailer {
        is_empty: bool,
    },
    /// Behind a carriage return among the trailers.
    TrailerEnd {
        is_empty: bool,
    },
    Over,
}

impl Answer {
    /// `header` gives the first value of a name.
    fn new<'a>(status: StatusCode, header: impl Fn(HeaderName) -> Option<&'a [u8]>) -> Self {
        let text = |name| header(name).map(|value| String::from_utf8_lossy(value).into());
        Self {
            status,
            encoding: Encoding::named(header(CONTENT_ENCODING)),
            content_type: text(CONTENT_TYPE),
            location: text(LOCATION),
            length: None,
        }
    }

    pub(super) fn of_http2(status: StatusCode, headers: &HeaderMap) -> Self {
        let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let length = length.and_then(|text| text.parse().ok());
        let first = |name| headers.get(name).map(HeaderValue::as_bytes);
        Self { length, ..Self::new(status, first) }
    }
}

impl Head {
    /// At the beginning of `bytes`; `None` where it has not come to its end. What a server says
    /// before its answer (1xx) is passed over.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, Failure> {
        let mut before = 0;
        loop {
            let Some(head) = Self::read_one(&bytes[before..])? else { return Ok(None) };
            before += head.bytes;
            let status = head.answer.status;
            if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some(Self { bytes: before, ..head }));
            }
        }
    }

    fn read_one(bytes: &[u8]) -> Result<Option<Self>, Failure> {
        let mut lines = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut []);
        let outcome = ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            bytes,
            &mut lines,
        );
        let used = match outcome {
            Ok(Status::Complete(used)) => used,
            Ok(Status::Partial) => return Ok(None),
            Err(e) => return Err(malformed(&e.to_string())),
        };
        let status = StatusCode::from_u16(response.code.unwrap_or_default())
            .map_err(|e| malformed(&e.to_string()))?;
        let headers: &[httparse::Header<'_>] = response.headers;
        let all = |name: HeaderName| {
            let of_name = move |line: &&httparse::Header<'_>| {
                line.name.len() == name.as_str().len()
                    && line.name.eq_ignore_ascii_case(name.as_str())
            };
            headers.iter().filter(of_name).map(|line| line.value)
        };
        let mut answer = Answer::new(status, |name| all(name).next());
        let length = length(all(CONTENT_LENGTH))?;
        let is_chunked = is_chunked(all(TRANSFER_ENCODING))?;
        let says = |token: &str| {
            let tokens = all(CONNECTION).flat_map(|value| value.split(|byte| *byte == b','));
            tokens.map(<[u8]>::trim_ascii).any(|one| one.eq_ignore_ascii_case(token.as_bytes()))
        };
        let keeps = match response.version {
            Some(1) => !says("close"),
            Some(_) | None => says("keep-alive"),
        };
        let has_body = !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            && !status.is_informational();
        let (framing, keeps) = match (has_body, is_chunked, length) {
            (false, ..) => (Framing::Length(0), keeps && status != StatusCode::SWITCHING_PROTOCOLS),
            // Two ways to tell the end, so that one of them may be wrong.
            (true, true, Some(_)) => (Framing::Chunked(Chunks::default()), false),
            (true, true, None) => (Framing::Chunked(Chunks::default()), keeps),
            (true, false, Some(length)) => (Framing::Length(length), keeps),
            (true, false, None) => (Framing::UntilClose, false),
        };
        if let Framing::Length(length) = framing {
            answer.length = Some(length);
        }
        Ok(Some(Self { answer, framing, keeps, bytes: used }))
    }
}

impl Framing {
    /// Adds to `body` what of `bytes` belongs to it; tells how many of them were the answer's.
    pub(super) fn push(&mut self, bytes: &[u8], body: &mut Vec<u8>) -> Result<usize, Failure> {
        match self {
            Self::Length(left) => {
                let used = within(bytes, *left);
                body.extend_from_slice(&bytes[..used]);
                *left -= used as u64;
                Ok(used)
            }
            Self::Chunked(chunks) => chunks.push(bytes, body),
            Self::UntilClose => {
                body.extend_from_slice(bytes);
                Ok(bytes.len())
            }
        }
    }

    /// Nothing of the body is to come.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.at == At::Over,
            Self::UntilClose => false,
        }
    }
}

impl Default for Chunks {
    fn default() -> Self {
        Self { at: At::Count(None), notes_bytes: 0 }
    }
}

impl Chunks {
    fn push(&mut self, bytes: &[u8], body: &mut Vec<u8>) -> Result<usize, Failure> {
        let mut used = 0;
        while used < bytes.len() && self.at != At::Over {
            if let At::Data(left) = self.at {
                let length = within(&bytes[used..], left);
                body.extend_from_slice(&bytes[used..used + length]);
                used += length;
                let left = left - length as u64;
                self.at = if left == 0 { At::DataEnd } else { At::Data(left) };
                continue;
            }
            self.at = self.step(bytes[used])?;
            used += 1;
        }
        Ok(used)
    }

    /// Over one byte that is none of the body. A line may end without its carriage return.
    fn step(&mut self, byte: u8) -> Result<At, Failure> {
        let wrong = |what: &str| Err(malformed(&format!("{what} in a chunked body")));
        let at = match (self.at, byte) {
            (At::Count(Some(count)) | At::Note(count), b'\r') => At::LineEnd(count),
            (At::Count(Some(0)) | At::Note(0) | At::LineEnd(0), b'\n') => {
                At::Trailer { is_empty: true }
            }
            (At::Count(Some(count)) | At::Note(count) | At::LineEnd(count), b'\n') => {
                At::Data(count)
            }
            (At::Count(Some(count)), b';' | b' ' | b'\t') | (At::Note(count), _) => At::Note(count),
            (At::Count(known), digit) => match more_digits(known, digit) {
                Some(count) => At::Count(Some(count)),
                None => return wrong("no count of bytes"),
            },
            (At::DataEnd, b'\r') => At::DataLineEnd,
            (At::DataEnd | At::DataLineEnd, b'\n') => At::Count(None),
            (At::DataEnd | At::DataLineEnd, _) => return wrong("no end of a chunk"),
            (At::Trailer { is_empty: true } | At::TrailerEnd { is_empty: true }, b'\n') => At::Over,
            (At::Trailer { .. } | At::TrailerEnd { .. }, b'\n') => At::Trailer { is_empty: true },
            (At::Trailer { is_empty }, b'\r') => At::TrailerEnd { is_empty },
            (At::Trailer { .. }, _) => At::Trailer { is_empty: false },
            (At::LineEnd(_) | At::TrailerEnd { .. }, _) => return wrong("a lone carriage return"),
            (At::Data(_) | At::Over, _) => unreachable!("these are no single bytes"),
        };
        if matches!(at, At::Note(_) | At::Trailer { .. }) {
            self.notes_bytes += 1;
            if self.notes_bytes > CHUNK_NOTES_BYTES_MAX {
                return wrong("too many notes");
            }
        }
        Ok(at)
    }
}

/// `None`: that is no digit, or the count is beyond all reason.
fn more_digits(known: Option<u64>, digit: u8) -> Option<u64> {
    let digit = char::from(digit).to_digit(16)?;
    Some(known.unwrap_or(0).checked_mul(16)? + u64::from(digit))
}

/// `None` where nothing is said. It may be said several times, if it is the same.
fn length<'a>(values: impl Iterator<Item = &'a [u8]>) -> Result<Option<u64>, Failure> {
    let mut length = None;
    for value in values.flat_map(|value| value.split(|byte| *byte == b',')) {
        let value = value.trim_ascii();
        let digits = std::str::from_utf8(value).ok();
        let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let own: Option<u64> = digits.and_then(|text| text.parse().ok());
        match (own, length) {
            (Some(own), None) => length = Some(own),
            (Some(own), Some(other)) if own == other => {}
            (Some(_) | None, _) => {
                let value = value.escape_ascii();
                return Err(malformed(&format!("Content-Length `{value}`")));
            }
        }
    }
    Ok(length)
}

fn is_chunked<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Result<bool, Failure> {
    let Some(value) = values.next() else { return Ok(false) };
    match value.trim_ascii() {
        one if one.eq_ignore_ascii_case(b"chunked") && values.next().is_none() => Ok(true),
        one if one.eq_ignore_ascii_case(b"identity") && values.next().is_none() => Ok(false),
        other => Err(malformed(&format!("Transfer-Encoding `{}`", other.escape_ascii()))),
    }
}

fn within(bytes: &[u8], left: u64) -> usize {
    usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))
}

fn malformed(what: &str) -> Failure {
    Failure::Http(format!("malformed HTTP response: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status and body of an answer, and whether another may follow.
    type Taken<B> = (u16, B, bool);

    /// Gives the pieces of an answer one after the other; `Err` is a message.
    fn take(pieces: &[&[u8]]) -> Result<Taken<Vec<u8>>, String> {
        let told = |failure: Failure| failure.to_string();
        let mut seen = Vec::new();
        let mut pieces = pieces.iter();
        let mut head = loop {
            let Some(piece) = pieces.next() else { return Err("no head".to_owned()) };
            seen.extend_from_slice(piece);
            if let Some(found) = Head::read(&seen).map_err(told)? {
                break found;
            }
        };
        let (mut body, mut keeps) = (Vec::new(), head.keeps);
        for piece in [&seen[head.bytes..]].into_iter().chain(pieces.copied()) {
            let used = head.framing.push(piece, &mut body).map_err(told)?;
            keeps &= used == piece.len();
        }
        match (head.framing.is_over(), head.framing) {
            (true, _) | (false, Framing::UntilClose) => {
                Ok((head.answer.status.as_u16(), body, keeps))
            }
            (false, _) => Err("no end".to_owned()),
        }
    }

    /// `Err` is a part of the message.
    fn check(answer: &str, expected: Result<Taken<&str>, &str>) {
        let whole = [answer.as_bytes()];
        let bytes: Vec<&[u8]> = answer.as_bytes().chunks(1).collect();
        for pieces in [&whole[..], &bytes] {
            match (take(pieces), expected) {
                (Ok((status, body, keeps)), Ok(expected)) => {
                    let body = String::from_utf8(body).unwrap();
                    assert_eq!((status, body.as_str(), keeps), expected, "{answer:?}");
                }
                (Err(reason), Err(part)) => assert!(reason.contains(part), "{answer:?}: {reason}"),
                (found, expected) => panic!("{answer:?}: {found:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn a_body_ends_where_the_head_says() {
        for (head, body, expected) in [
            ("Content-Length: 3", "abc", Ok((200, "abc", true))),
            ("content-length:3, 3\r\nContent-Length: 3", "abc", Ok((200, "abc", true))),
            ("Content-Length: 0", "", Ok((200, "", true))),
            ("Content-Length: 3", "ab", Err("no end")),
            ("Content-Length: 3", "abcHTTP/1.1 200 OK", Ok((200, "abc", false))),
            ("Content-Length: 3\r\nContent-Length: 4", "abc", Err("Content-Length `4`")),
            ("Content-Length: +3", "abc", Err("Content-Length `+3`")),
            ("Content-Length: -1", "abc", Err("Content-Length `-1`")),
            ("Content-Length: 99999999999999999999", "abc", Err("Content-Length `9")),
            ("Content-Length: ", "abc", Err("Content-Length ``")),
            ("Server: x", "abc", Ok((200, "abc", false))),
            ("Transfer-Encoding: identity\r\nContent-Length: 3", "abc", Ok((200, "abc", true))),
            ("Transfer-Encoding: gzip, chunked", "0\r\n\r\n", Err("Transfer-Encoding `gzip,")),
            ("Connection: close\r\nContent-Length: 3", "abc", Ok((200, "abc", false))),
            ("Connection: x, Close\r\nContent-Length: 3", "abc", Ok((200, "abc", false))),
            (
                "Content-Length: 3\r\nTransfer-Encoding: Chunked",
                "1\r\na\r\n0\r\n\r\n",
                Ok((200, "a", false)),
            ),
        ] {
            check(&format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}"), expected);
        }
    }

    #[test]
    fn chunks_in_all_their_forms() {
        for (body, expected) in [
            ("4\r\nmetr\r\n5\r\nic 1\n\r\n0\r\n\r\n", Ok("metric 1\n")),
            ("00A;name=\"va;lue\"\r\n0123456789\r\n0;x\r\n\r\n", Ok("0123456789")),
            ("a \t\r\n0123456789\r\n000\r\n\r\n", Ok("0123456789")),
            ("1\na\n0\n\n", Ok("a")),
            ("1\r\na\r\n0\r\nA: b\r\nC: d\r\n\r\n", Ok("a")),
            ("0\r\n\r\n", Ok("")),
            ("1\r\na\r\n0\r\n", Err("no end")),
            ("1\r\na\r\n0\r\nA: b\r\n", Err("no end")),
            ("1\r\na\r\n", Err("no end")),
            ("5\r\nabc", Err("no end")),
            ("1\r\nab\r\n0\r\n\r\n", Err("no end of a chunk")),
            ("\r\n", Err("no count of bytes")),
            ("-1\r\na", Err("no count of bytes")),
            ("g\r\n", Err("no count of bytes")),
            ("10000000000000000\r\n", Err("no count of bytes")),
            ("1\rx", Err("a lone carriage return")),
        ] {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            check(&format!("{head}{body}"), expected.map(|body| (200, body, true)));
        }
        for endless in ["1;", "0\r\nA:"] {
            let mut chunks = Chunks::default();
            chunks.push(endless.as_bytes(), &mut Vec::new()).unwrap();
            let notes = vec![b'x'; CHUNK_NOTES_BYTES_MAX + 1];
            assert!(chunks.push(&notes, &mut Vec::new()).is_err(), "{endless}");
        }
    }

    #[test]
    fn what_comes_before_an_answer_and_what_is_none() {
        let plain = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
        let many = "A: b\r\n".repeat(HEADERS_MAX + 1);
        let before = "HTTP/1.1 100 Continue\r\n\r\n";
        let hints = "HTTP/1.1 103 Early Hints\r\nContent-Length: 7\r\n\r\n";
        for (answer, expected) in [
            (plain.to_owned(), Ok((200, "a", true))),
            (format!("{before}{plain}"), Ok((200, "a", true))),
            (format!("{before}{hints}{plain}"), Ok((200, "a", true))),
            (before.to_owned(), Err("no head")),
            ("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n".to_owned(), Ok((101, "", false))),
            ("HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\n".to_owned(), Ok((204, "", true))),
            (
                "HTTP/1.1 304 x\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
                Ok((304, "", true)),
            ),
            ("HTTP/1.1 200\r\nContent-Length: 1\r\n\r\na".to_owned(), Ok((200, "a", true))),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na".to_owned(), Ok((200, "a", false))),
            (
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na"
                    .to_owned(),
                Ok((200, "a", true)),
            ),
            ("HTTP/1.0 200 OK\r\n\r\nabc".to_owned(), Ok((200, "abc", false))),
            ("HTTP/2 200 OK\r\n\r\n".to_owned(), Err("malformed HTTP response")),
            ("SSH-2.0-x\r\n\r\n".to_owned(), Err("malformed HTTP response")),
            ("HTTP/1.1 2x0 OK\r\n\r\n".to_owned(), Err("malformed HTTP response")),
            ("HTTP/1.1 099 OK\r\n\r\n".to_owned(), Err("malformed HTTP response")),
            ("HTTP/1.1 200 OK\r\nA b: c\r\n\r\n".to_owned(), Err("invalid header name")),
            (format!("HTTP/1.1 200 OK\r\n{many}\r\n"), Err("too many headers")),
        ] {
            check(&answer, expected);
        }
    }
}
