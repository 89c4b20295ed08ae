//! The protobuf wire format, as little of it as the exposition and remote write need.

/// Length-delimited values nest no deeper than the reader asks, so there is nothing else to bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FieldValue<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireFault {
    /// A field claims more bytes than there are.
    Truncated,
    /// A varint of more than 64 bits.
    VarintTooLong,
    /// A field number of 0, or a wire type that no longer exists.
    BadTag(u64),
}

impl std::fmt::Display for WireFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Truncated => f.write_str("a field is longer than its message"),
            Self::VarintTooLong => f.write_str("a varint has more than 64 bits"),
            Self::BadTag(tag) => write!(f, "the tag {tag} is none of protobuf's"),
        }
    }
}

/// The fields of a message in order, each with its number.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    fn field(&mut self) -> Result<(u64, FieldValue<'a>), WireFault> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => FieldValue::Varint(self.varint()?),
            1 => FieldValue::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| WireFault::Truncated)?;
                FieldValue::Bytes(self.bytes(length)?)
            }
            5 => FieldValue::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(WireFault::BadTag(tag)),
        };
        if tag >> 3 == 0 {
            return Err(WireFault::BadTag(tag));
        }
        Ok((tag >> 3, value))
    }

    /// A number without a tag before it: a length, or one of many that are packed.
    pub fn varint(&mut self) -> Result<u64, WireFault> {
        take_varint(&mut self.rest)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], WireFault> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(WireFault::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireFault> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(WireFault::Truncated)?;
        self.rest = rest;
        Ok(*array)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, FieldValue<'a>), WireFault>;

    /// After a fault there is nothing more to read.
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Takes the number off the front of `bytes`. Nearly all are tags and lengths of one byte.
#[inline]
pub fn take_varint(bytes: &mut &[u8]) -> Result<u64, WireFault> {
    if let [byte @ ..0x80, rest @ ..] = *bytes {
        *bytes = rest;
        return Ok(u64::from(*byte));
    }
    take_long_varint(bytes)
}

fn take_long_varint(bytes: &mut &[u8]) -> Result<u64, WireFault> {
    let mut value = 0;
    for (n, &byte) in bytes.iter().enumerate().take(10) {
        if n == 9 && byte > 1 {
            return Err(WireFault::VarintTooLong);
        }
        value |= u64::from(byte & 0x7f) << (7 * n);
        if byte < 0x80 {
            *bytes = &bytes[n + 1..];
            return Ok(value);
        }
    }
    Err(if bytes.len() < 10 { WireFault::Truncated } else { WireFault::VarintTooLong })
}

/// What stands before a varint field.
pub const fn varint_tag(field: u64) -> u64 {
    field << 3
}

/// What stands before a 64-bit field.
pub const fn fixed64_tag(field: u64) -> u64 {
    field << 3 | 1
}

/// What stands before a length-delimited field.
pub const fn bytes_tag(field: u64) -> u64 {
    field << 3 | 2
}

#[inline]
pub fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_bits(value) | 0x80);
        value >>= 7;
    }
    out.push(low_bits(value));
}

#[inline]
pub fn varint_length(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// A length-delimited field, whole.
#[inline]
pub fn push_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    push_varint(out, bytes_tag(field));
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[inline]
fn low_bits(value: u64) -> u8 {
    u8::try_from(value & 0x7f).expect("seven bits fit into eight")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_come_back() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, value);
            assert_eq!(bytes.len(), varint_length(value));
            let mut fields = Fields::of(&bytes);
            assert_eq!(fields.varint(), Ok(value));
            assert!(fields.rest().is_empty());
        }
    }

    #[test]
    fn bad_messages_are_named() {
        for (message, expected) in [
            (&[0x08][..], WireFault::Truncated),
            (&[0x08, 0x80], WireFault::Truncated),
            (&[0x0a, 0x02, 0x00], WireFault::Truncated),
            (&[0x09, 1, 2, 3], WireFault::Truncated),
            (&[0x0d, 1, 2, 3], WireFault::Truncated),
            (&[0x00, 0x00], WireFault::BadTag(0)),
            (&[0x0b], WireFault::BadTag(11)),
            (&[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2], WireFault::VarintTooLong),
            (
                &[0x0a, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
                WireFault::VarintTooLong,
            ),
        ] {
            let mut fields = Fields::of(message);
            assert_eq!(fields.next(), Some(Err(expected)), "{message:?}");
            assert_eq!(fields.next(), None);
        }
    }

    #[test]
    fn fields_come_in_order() {
        let mut message = Vec::new();
        push_varint(&mut message, varint_tag(1));
        push_varint(&mut message, 5);
        push_varint(&mut message, fixed64_tag(2));
        message.extend_from_slice(&1_u64.to_le_bytes());
        push_bytes(&mut message, 3, b"abc");
        message.extend_from_slice(&[4 << 3 | 5, 2, 0, 0, 0]);
        let fields: Result<Vec<_>, _> = Fields::of(&message).collect();
        assert_eq!(
            fields,
            Ok(vec![
                (1, FieldValue::Varint(5)),
                (2, FieldValue::Fixed64(1)),
                (3, FieldValue::Bytes(b"abc")),
                (4, FieldValue::Fixed32(2)),
            ])
        );
    }
}
