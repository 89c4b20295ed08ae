//! What a client's certificate calls its holder. It says so of itself: whoever asks must know that the
//! certificate was verified.

use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

/// `commonName`, as an object identifier of X.509: 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// The names in a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// In lower case.
    pub dns: Vec<String>,
    pub common_name: Option<String>,
}

impl CertificateNames {
    /// Of one that cannot be read there are none.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let Ok(certificate) = EndEntityCert::try_from(certificate) else { return Self::default() };
        Self {
            dns: certificate.valid_dns_names().map(str::to_ascii_lowercase).collect(),
            common_name: common_name(certificate.subject()).map(str::to_owned),
        }
    }

    /// The one to tell its holder by: the first DNS name, else the common name.
    pub fn first(&self) -> Option<&str> {
        self.dns.first().or(self.common_name.as_ref()).map(String::as_str)
    }
}

/// Of a subject, which is a list of sets of pairs.
fn common_name(subject: &[u8]) -> Option<&str> {
    let mut sets = Elements { rest: subject };
    sets.find_map(|(tag, set)| {
        let mut pairs = Elements { rest: if tag == SET { set } else { &[] } };
        pairs.find_map(|(tag, pair)| {
            let mut pair = Elements { rest: if tag == SEQUENCE { pair } else { &[] } };
            let is_own = pair.next() == Some((OBJECT_IDENTIFIER, COMMON_NAME));
            let (tag, text) = pair.next().filter(|_| is_own)?;
            let is_text = [UTF8_STRING, PRINTABLE_STRING, IA5_STRING].contains(&tag);
            std::str::from_utf8(text).ok().filter(|text| is_text && !text.is_empty())
        })
    })
}

/// Tags and contents that stand behind each other in DER; ends where it is none.
struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (tag, rest) = self.rest.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match usize::from(*first) {
            short @ 0..=0x7f => (short, rest),
            // No name is longer than two bytes can say.
            0x81 => rest.split_first().map(|(one, rest)| (usize::from(*one), rest))?,
            0x82 => {
                let (two, rest) = rest.split_first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*two)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some((*tag, content))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    #[track_caller]
    fn check(names: &[&str], subject: &[(DnType, &str)], expected: Option<&str>) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let found = CertificateNames::of(certificate.der());
        assert_eq!(found.first(), expected, "{found:?}");
    }

    #[test]
    fn a_holder_is_told_by_a_dns_name_or_the_common_name() {
        let long = "x".repeat(300);
        check(&["Edge.example", "b"], &[(DnType::CommonName, "c")], Some("edge.example"));
        check(
            &[],
            &[(DnType::OrganizationName, "o"), (DnType::CommonName, "edge 1")],
            Some("edge 1"),
        );
        check(&["10.0.0.1"], &[(DnType::CommonName, &long)], Some(&long));
        check(&[], &[(DnType::OrganizationName, "o")], None);
        check(&[], &[(DnType::CommonName, "é")], Some("é"));
        let garbled = CertificateNames::of(&CertificateDer::from(vec![0x30, 0x82]));
        assert_eq!(garbled, CertificateNames::default());
    }

    #[test]
    fn a_subject_that_is_cut_off_has_no_name() {
        let whole = [0x31, 12, 0x30, 10, 0x06, 3, 0x55, 4, 3, 0x0c, 3, b'a', b'b', b'c'];
        assert_eq!(common_name(&whole), Some("abc"));
        for length in 0..whole.len() {
            assert_eq!(common_name(&whole[..length]), None, "{length}");
        }
        for at in 0..whole.len() {
            for byte in [0, 0x7f, 0x80, 0x81, 0x82, 0x84, 0xff] {
                let mut changed = whole;
                changed[at] = byte;
                let _ = common_name(&changed);
            }
        }
    }
}
