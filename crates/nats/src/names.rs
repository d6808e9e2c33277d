//! Names at the server for whatever a group is called.

use std::fmt::Write as _;

/// The longest name that is written out in full. A server takes 255 bytes, and makes files of them.
const READABLE: usize = 128;
/// How much of a longer one is kept for people to read.
const KEPT: usize = 64;

/// The name of a group's consumer.
///
/// Letters, digits, `-` and `_` stand for themselves; any other byte is `=` and two hexadecimal digits, so that no two groups have one name.
/// A name that would be too long ends in `~` and its hash.
pub(crate) fn consumer(group: &str) -> String {
    let mut name = String::with_capacity(group.len());
    for byte in group.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "={byte:02X}");
        }
    }
    if name.len() > READABLE {
        name.truncate(KEPT);
        let _ = write!(name, "~{:032x}", hash(group));
    }
    name
}

/// FNV-1a with 128 bits. It must never change, since servers keep names made of it.
pub(crate) fn hash(text: &str) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    text.bytes().fold(BASIS, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_plain_group_keeps_its_name() {
        assert_eq!(consumer("billing-2_eu"), "billing-2_eu");
        assert_eq!(consumer("billing.eu"), "billing=2Eeu");
        assert_eq!(consumer("a=2E"), "a=3D2E");
        assert_eq!(consumer("größe *>"), "gr=C3=B6=C3=9Fe=20=2A=3E");
    }

    #[test]
    fn any_group_has_a_name_of_its_own_that_a_server_takes() {
        let long = "ü".repeat(127);
        let groups =
            ["a", "A", "a.b", "a=2Eb", "a b", "a/b", "a\\b", "*", ">", "~", "=", "日本", &"x".repeat(255), &"x".repeat(254), &long];
        let names: HashSet<String> = groups.iter().map(|group| consumer(group)).collect();
        assert_eq!(names.len(), groups.len());
        for name in names {
            assert!(name.len() <= READABLE && !name.is_empty(), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=~".contains(&byte)), "{name}");
        }
    }

    #[test]
    fn the_hash_is_the_one_that_servers_have_kept() {
        // From the specification of FNV: the empty text and "foobar".
        assert_eq!(hash(""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(hash("foobar"), 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
    }
}
