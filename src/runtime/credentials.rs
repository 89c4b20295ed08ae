//! What a request shows in `Authorization`, and which of the known tokens that is. Pure but for no
//! comparison of a secret ending early; passwords, which take long, are compared in `passwords`.

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::digest::{SHA256, digest};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::config::{ClientAuth, WebTls};

/// What `Authorization` holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Shown {
    Nothing,
    Bearer(String),
    Basic {
        user: String,
        password: String,
    },
    /// Of a scheme that is not known, or garbled.
    Unreadable,
}

impl Shown {
    pub fn read(authorization: Option<&[u8]>) -> Self {
        let Some(bytes) = authorization else { return Self::Nothing };
        let Ok(text) = std::str::from_utf8(bytes) else { return Self::Unreadable };
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text, ""));
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Self::Bearer(rest.to_owned());
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Self::Unreadable;
        }
        let decoded = BASE64_STANDARD.decode(rest).ok();
        let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        match decoded.as_deref().and_then(|text| text.split_once(':')) {
            Some((user, password)) => {
                Self::Basic { user: user.to_owned(), password: password.to_owned() }
            }
            None => Self::Unreadable,
        }
    }
}

/// What a client's certificate is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificates {
    /// Nothing: none is verified.
    Nothing,
    /// It lets its holder in.
    Enough,
    /// Nobody comes without; where there are tokens or users, one of these is needed as well.
    Needed,
}

impl Certificates {
    pub fn of(tls: Option<&WebTls>) -> Self {
        match tls.map(|tls| tls.client_auth) {
            None | Some(ClientAuth::None | ClientAuth::Request | ClientAuth::RequireAny) => {
                Self::Nothing
            }
            Some(ClientAuth::VerifyIfGiven) => Self::Enough,
            Some(ClientAuth::RequireAndVerify) => Self::Needed,
        }
    }
}

/// Tokens as digests, each with what it stands for.
#[derive(Debug)]
pub struct Tokens<T> {
    known: Vec<Known<T>>,
}

#[derive(Debug)]
struct Known<T> {
    digest: Option<[u8; 32]>,
    meaning: T,
}

impl<T> Tokens<T> {
    /// Of a token that could not be read the key is `None`: nobody has it.
    pub fn new<'k>(tokens: impl Iterator<Item = (Option<&'k str>, T)>) -> Self {
        let known = tokens.map(|(key, meaning)| Known { digest: key.map(sha256), meaning });
        Self { known: known.collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// All are looked at, whichever matches.
    pub fn find(&self, token: &str) -> Option<&T> {
        let shown = sha256(token);
        let mut found = u32::MAX;
        for (n, known) in (0_u32..).zip(&self.known) {
            let is_equal = known.digest.map_or(Choice::from(0), |own| own.ct_eq(&shown));
            found.conditional_assign(&n, is_equal);
        }
        self.known.get(usize::try_from(found).ok()?).map(|known| &known.meaning)
    }
}

fn sha256(text: &str) -> [u8; 32] {
    let digest = digest(&SHA256, text.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 is 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_token_or_a_user_or_unreadable() {
        let check = |header: &str, expected: Shown| {
            assert_eq!(Shown::read(Some(header.as_bytes())), expected, "{header}");
        };
        let basic = |user: &str, password: &str| Shown::Basic {
            user: user.to_owned(),
            password: password.to_owned(),
        };
        assert_eq!(Shown::read(None), Shown::Nothing);
        assert_eq!(Shown::read(Some(b"Bearer \xff")), Shown::Unreadable);
        check("bearer  x ", Shown::Bearer("x".to_owned()));
        check("Bearer", Shown::Bearer(String::new()));
        check(&format!("Basic {}", BASE64_STANDARD.encode("a:b:c")), basic("a", "b:c"));
        check(&format!("BASIC {}", BASE64_STANDARD.encode(":")), basic("", ""));
        for unreadable in ["", "x", "Digest x", "Basic", "Basic !", "Basic YQ=="] {
            check(unreadable, Shown::Unreadable);
        }
    }

    #[test]
    fn a_token_is_found_by_the_whole_of_it() {
        let tokens = Tokens::new([(Some("one"), 1), (None, 2), (Some("three"), 3)].into_iter());
        for (token, expected) in
            [("one", Some(1)), ("three", Some(3)), ("on", None), ("", None), ("ones", None)]
        {
            assert_eq!(tokens.find(token).copied(), expected, "{token}");
        }
        assert!(!tokens.is_empty() && Tokens::<()>::new(std::iter::empty()).is_empty());
    }
}
