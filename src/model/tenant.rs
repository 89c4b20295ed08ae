//! What a tenant may be called: as Mimir, Loki and Tempo take it in `X-Scope-OrgID`, so that no name that
//! passes here is refused there.

/// Longer ones are refused.
pub const TENANT_BYTES_MAX: usize = 150;

/// For a message about one that is none.
pub const TENANT_EXPECTED: &str =
    "1 to 150 letters, digits and `!-_.*'()`, and neither `.` nor `..`";

/// Whether `name` can be a tenant's.
pub fn is_tenant(name: &[u8]) -> bool {
    let is_short = (1..=TENANT_BYTES_MAX).contains(&name.len());
    let is_path = matches!(name, b"." | b"..");
    is_short && !is_path && name.iter().all(|b| b.is_ascii_alphanumeric() || is_mark(*b))
}

fn is_mark(byte: u8) -> bool {
    b"!-_.*'()".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_called_as_mimir_takes_it() {
        let longest = "a".repeat(TENANT_BYTES_MAX);
        for good in ["a", "team-a", "A_1.b!*'()", "...", &longest] {
            assert!(is_tenant(good.as_bytes()), "{good}");
        }
        let too_long = "a".repeat(TENANT_BYTES_MAX + 1);
        for bad in ["", ".", "..", "a|b", "a b", "a/b", "é", "a\n", &too_long] {
            assert!(!is_tenant(bad.as_bytes()), "{bad}");
        }
        assert!(!is_tenant(b"\xff"));
    }
}
