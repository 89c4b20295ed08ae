//! What becomes of the secret that the members share: taken from another, made by chance, or left as
//! it is. Pure.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use crate::{
    cli::setup::{
        files::{Found, Owner},
        section::Added,
    },
    config::{SECRET_BYTES_MAX, SECRET_BYTES_MIN, Secret},
};

/// Its owner may write it, the agent may read it, nobody else may see it.
pub(super) const MODE: u32 = 0o640;

#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// What is there is left alone.
    Keep,
    /// It stays, and who may read it is set right.
    Permit,
    /// By chance, for the first host.
    Make(Secret),
    /// That of another member.
    Take(Secret),
}

/// The secret in what came on standard input.
pub(super) fn given(text: &str) -> Result<Secret, String> {
    let secret = text.trim();
    if secret.is_empty() {
        return Err("nothing came on standard input: expected the secret of another member, as by `ssh vm1 cat /etc/starling/cluster.secret`".to_owned());
    }
    if secret.len() < SECRET_BYTES_MIN {
        return Err(format!(
            "the secret on standard input has {} bytes: expected at least {SECRET_BYTES_MIN}, as a shorter one can be guessed",
            secret.len()
        ));
    }
    if text.len() as u64 > SECRET_BYTES_MAX || secret.contains(char::is_control) {
        return Err(format!(
            "what came on standard input is no secret: expected one line of at most {SECRET_BYTES_MAX} bytes"
        ));
    }
    Ok(Secret::new(secret))
}

/// `chance` is what a new one is made of.
pub(super) fn decide(
    added: &Added,
    found: Option<&Found>,
    given: Option<Secret>,
    owner: Owner,
    chance: [u8; 32],
) -> Result<Step, String> {
    let Some(path) = &added.secret_file else {
        return match given {
            None => Ok(Step::Keep),
            Some(_) => Err("the configuration does not name its secret by `secret_file`: put the one on standard input where it says".to_owned()),
        };
    };
    match (found, given) {
        (None, None) => Ok(Step::Make(Secret::new(BASE64.encode(chance)))),
        (None, Some(given)) => Ok(Step::Take(given)),
        (Some(found), Some(given)) if found.secret != given => Err(format!(
            "`{}` holds another secret than the one on standard input: a fleet that runs changes it step by step, as docs/install.md says; on a host that is in none yet, remove that file and say this again",
            path.display()
        )),
        (Some(found), _) if found.secret.expose().is_empty() => Err(format!(
            "`{}` is empty: expected the secret that all members share; remove the file, and setup makes one",
            path.display()
        )),
        (Some(found), _) if found.mode != MODE || found.owner != owner => Ok(Step::Permit),
        (Some(_), _) => Ok(Step::Keep),
    }
}

/// The number of `group` in a text such as `/etc/group`.
pub(super) fn group_id(groups: &str, group: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner { uid: 0, gid: 7 };

    fn added(secret_file: Option<&str>) -> Added {
        Added {
            text: None,
            addition: String::new(),
            secret_file: secret_file.map(Into::into),
            divides: true,
        }
    }

    fn found(secret: &str, mode: u32, owner: Owner) -> Found {
        Found { secret: Secret::new(secret), mode, owner }
    }

    #[test]
    fn a_secret_is_made_once() {
        let check = |found: Option<Found>, given: Option<&str>, expected: Result<Step, &str>| {
            let given = given.map(Secret::new);
            let step = decide(&added(Some("/s")), found.as_ref(), given, OWNER, [0xff; 32]);
            match (step, expected) {
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
                (step, expected) => assert_eq!(step, expected.map_err(str::to_owned)),
            }
        };
        // 32 bytes, and padding.
        let made = "//////////////////////////////////////////8=";
        check(None, None, Ok(Step::Make(Secret::new(made))));
        check(None, Some("theirs"), Ok(Step::Take(Secret::new("theirs"))));
        let ours = || Some(found("ours", MODE, OWNER));
        check(ours(), None, Ok(Step::Keep));
        check(ours(), Some("ours"), Ok(Step::Keep));
        check(ours(), Some("theirs"), Err("`/s` holds another secret"));
        check(Some(found("ours", 0o644, OWNER)), None, Ok(Step::Permit));
        check(Some(found("ours", MODE, Owner { uid: 0, gid: 0 })), Some("ours"), Ok(Step::Permit));
        check(Some(found("", MODE, OWNER)), None, Err("`/s` is empty"));
    }

    #[test]
    fn a_secret_that_is_said_otherwise_is_left_alone() {
        let step = |given| decide(&added(None), None, given, OWNER, [0; 32]);
        assert_eq!(step(None), Ok(Step::Keep));
        assert!(step(Some(Secret::new("theirs"))).unwrap_err().contains("`secret_file`"));
    }

    #[test]
    fn only_a_secret_is_taken_for_one() {
        let check = |text: &str, expected: Result<&str, &str>| match (given(text), expected) {
            (Ok(secret), Ok(expected)) => assert_eq!(secret.expose(), expected),
            (Err(error), Err(expected)) => {
                assert!(error.contains(expected), "{error}");
                assert!(text.trim().is_empty() || !error.contains(text.trim()), "{error}");
            }
            (found, expected) => panic!("{found:?}, expected {expected:?}"),
        };
        check("0123456789abcdef\n", Ok("0123456789abcdef"));
        check("  0123456789abcdef \r\n", Ok("0123456789abcdef"));
        check(" \n", Err("nothing came"));
        check("geheim", Err("has 6 bytes: expected at least 16"));
        check("0123456789abcdef\n0123456789abcdef\n", Err("is no secret"));
        check(&"x".repeat(5000), Err("is no secret"));
    }

    #[test]
    fn a_group_has_a_number() {
        let groups = "root:x:0:\nstarlings:x:1:\nstarling:x:998:a,b\nbroken\nodd:x:y:\n";
        assert_eq!(group_id(groups, "starling"), Some(998));
        assert_eq!(group_id(groups, "root"), Some(0));
        for absent in ["star", "broken", "odd", ""] {
            assert_eq!(group_id(groups, absent), None, "{absent}");
        }
    }
}
