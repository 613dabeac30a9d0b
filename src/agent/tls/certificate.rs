//! The names in a client's certificate.

use webpki::EndEntityCert;

use super::{AltName, Identity};
use crate::transport::rustls::pki_types::CertificateDer;

/// The identity in a certificate that was verified before.
pub(super) fn identity(certificate: &CertificateDer<'_>) -> Identity {
    let Ok(parsed) = EndEntityCert::try_from(certificate) else {
        return Identity { shown: "?".to_owned(), ..Identity::default() };
    };
    let dns = parsed.valid_dns_names().filter_map(AltName::dns);
    let uris = parsed.valid_uri_names().map(|uri| AltName::Uri(uri.to_owned()));
    Identity { shown: name(&parsed), names: dns.chain(uris).collect() }
}

/// The common name of the subject, else a DNS name, else a URI, else the serial number.
fn name(parsed: &EndEntityCert<'_>) -> String {
    let first = common_name(parsed.subject())
        .or_else(|| parsed.valid_dns_names().next())
        .or_else(|| parsed.valid_uri_names().next());
    match first {
        Some(name) => name.to_owned(),
        None => {
            let serial = parsed.serial().iter().map(|byte| format!("{byte:02x}"));
            format!("serial {}", serial.collect::<String>())
        }
    }
}

/// The common name of a subject in DER without its outer header: a list of sets of sequences of a
/// type and a value.
fn common_name(mut subject: &[u8]) -> Option<&str> {
    loop {
        let (set, rest) = element(subject)?;
        let (sequence, _) = element(set)?;
        let (kind, value) = element(sequence)?;
        if kind == COMMON_NAME {
            let (text, _) = element(value)?;
            return str::from_utf8(text).ok().filter(|text| !text.is_empty());
        }
        subject = rest;
    }
}

/// The contents of the first DER element, and the bytes after it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[_, len], rest) = der.split_first_chunk::<2>()?;
    match len {
        0..=0x7f => rest.split_at_checked(usize::from(len)),
        0x81 => {
            let (&len, rest) = rest.split_first()?;
            rest.split_at_checked(usize::from(len))
        }
        0x82 => {
            let (&len, rest) = rest.split_first_chunk::<2>()?;
            rest.split_at_checked(usize::from(u16::from_be_bytes(len)))
        }
        _ => None,
    }
}

/// The object identifier 2.5.4.3 in DER.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, SerialNumber};

    use super::*;

    #[test]
    fn a_certificate_is_known_by_its_common_name_or_what_else_it_has() {
        let made = |change: fn(&mut CertificateParams)| {
            let mut params = CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.serial_number = Some(SerialNumber::from(vec![1, 0xab]));
            change(&mut params);
            let key = KeyPair::generate().unwrap();
            identity(params.self_signed(&key).unwrap().der()).shown
        };
        let common = |params: &mut CertificateParams| {
            params.distinguished_name.push(DnType::OrganizationName, "o".repeat(200));
            params.distinguished_name.push(DnType::CommonName, "web 1");
        };
        assert_eq!(made(common), "web 1");
        let dns = |params: &mut CertificateParams| {
            params.distinguished_name.push(DnType::OrganizationName, "o".repeat(300));
            params.subject_alt_names = vec![SanType::DnsName("web.example".try_into().unwrap())];
        };
        assert_eq!(made(dns), "web.example");
        let uri = |params: &mut CertificateParams| {
            params.subject_alt_names = vec![SanType::URI("spiffe://a/b".try_into().unwrap())];
        };
        assert_eq!(made(uri), "spiffe://a/b");
        assert_eq!(made(|_| {}), "serial 01ab");
    }

    #[test]
    fn the_names_of_a_certificate_are_its_alternative_names_alone() {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "admin.example");
        let uri = |text: &str| SanType::URI(text.try_into().unwrap());
        params.subject_alt_names = vec![
            SanType::DnsName("Web.Example".try_into().unwrap()),
            SanType::DnsName("*.example".try_into().unwrap()),
            SanType::Rfc822Name("ops@example".try_into().unwrap()),
            SanType::IpAddress([10, 0, 0, 1].into()),
            uri("spiffe://a/Ops"),
            // No URI, but an authority may sign it without a look: it is no DNS name.
            uri("db.example"),
        ];
        let key = KeyPair::generate().unwrap();
        let found = identity(params.self_signed(&key).unwrap().der()).names;
        let uris = ["db.example", "spiffe://a/Ops"].map(|uri| AltName::Uri(uri.to_owned()));
        let wanted: Vec<_> =
            [AltName::Dns("web.example".to_owned())].into_iter().chain(uris).collect();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn a_subject_that_is_cut_off_has_no_name() {
        let subject = b"\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01a";
        assert_eq!(common_name(subject), Some("a"));
        for len in 0..subject.len() {
            assert_eq!(common_name(&subject[..len]), None, "{len}");
        }
    }
}
