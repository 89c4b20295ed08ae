//! A certificate that the operator trusts by itself, not by who signed it. Pure; part of `tls`.

use std::ops::RangeInclusive;

use rustls::{CertificateError, Error, client::verify_server_name, server::ParsedCertificate};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use time::{Date, Month, PrimitiveDateTime, Time};

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// What remains to be checked where `certificate` is in the `ca_file` itself: name and time. Made
/// with `openssl req -x509` it is an authority too, which the library takes for no server's.
pub(super) fn verify_trusted(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), Error> {
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
    let valid = validity(certificate).ok_or(CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < *valid.start() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > *valid.end() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// In seconds since 1970.
fn validity(certificate: &[u8]) -> Option<RangeInclusive<i64>> {
    let mut rest = certificate;
    let mut signed = element(&mut rest).filter(|(tag, _)| *tag == SEQUENCE)?.1;
    let mut body = element(&mut signed).filter(|(tag, _)| *tag == SEQUENCE)?.1;
    if body.first() == Some(&VERSION) {
        element(&mut body)?;
    }
    let (_serial, _algorithm, _issuer) =
        (element(&mut body)?, element(&mut body)?, element(&mut body)?);
    let mut validity = element(&mut body).filter(|(tag, _)| *tag == SEQUENCE)?.1;
    let (from, until) = (element(&mut validity)?, element(&mut validity)?);
    Some(seconds(from)?..=seconds(until)?)
}

/// The next element's tag and content; `input` goes on behind it.
fn element<'a>(input: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&[tag, length], mut rest) = input.split_first_chunk::<2>()?;
    let mut bytes = usize::from(length);
    if length & 0x80 != 0 {
        let (digits, behind) = rest.split_at_checked(usize::from(length & 0x7f))?;
        if digits.len() > 4 {
            return None;
        }
        bytes = digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit));
        rest = behind;
    }
    let (content, behind) = rest.split_at_checked(bytes)?;
    *input = behind;
    Some((tag, content))
}

fn seconds((tag, text): (u8, &[u8])) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = text.split_at_checked(if tag == GENERALIZED_TIME { 4 } else { 2 })?;
    let year: i32 = year.parse().ok()?;
    let year = match tag {
        GENERALIZED_TIME => year,
        UTC_TIME if year < 50 => 2000 + year,
        UTC_TIME => 1900 + year,
        _ => return None,
    };
    let two = |at: usize| rest.get(at..at + 2)?.parse::<u8>().ok();
    let date = Date::from_calendar_date(year, Month::try_from(two(0)?).ok()?, two(2)?).ok()?;
    let time = Time::from_hms(two(4)?, two(6)?, two(8)?).ok()?;
    Some(PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

    use super::*;

    /// What `openssl req -x509` makes.
    fn self_signed(until_year: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["backend.example".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until_year, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().into()
    }

    #[test]
    fn name_and_time_are_verified() {
        // The second one needs the form of time with four digits.
        for until_year in [2030, 2060] {
            let certificate = self_signed(until_year);
            let until = date_time_ymd(until_year, 1, 1).unix_timestamp().unsigned_abs();
            let from = date_time_ymd(2020, 1, 1).unix_timestamp().unsigned_abs();
            for (name, seconds, expected) in [
                ("backend.example", from, Ok(())),
                ("backend.example", until, Ok(())),
                ("backend.example", from - 1, Err("NotValidYet")),
                ("backend.example", until + 1, Err("Expired")),
                ("other.example", from, Err("not valid for name")),
            ] {
                let name = ServerName::try_from(name).unwrap();
                let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
                let outcome = verify_trusted(&certificate, &name, now).map_err(|e| e.to_string());
                match (outcome, expected) {
                    (Ok(()), Ok(())) => {}
                    (Err(found), Err(part)) if found.contains(part) => {}
                    (found, expected) => panic!("{name:?} at {seconds}: {found:?}, {expected:?}"),
                }
            }
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_have_no_validity() {
        let whole = self_signed(2030);
        assert!(validity(&whole).is_some());
        for end in 0..whole.len() {
            assert_eq!(validity(&whole[..end]), None, "cut at {end}");
        }
        assert_eq!(validity(&[0x30, 0xff, 1, 2]), None);
    }
}
