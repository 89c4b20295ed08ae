//! The node id on disk: made once by chance, read at each start.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use ring::rand::{SecureRandom, SystemRandom};

use crate::model::member::NodeId;

const FILE: &str = "node_id";

/// The id in `folder`, made where there is none. A file that holds no id is an error: to make a new
/// one would move this node's share for a typing mistake.
pub fn load_or_create(folder: &Path) -> Result<NodeId, String> {
    let path = folder.join(FILE);
    let place = |error: io::Error| format!("node id in `{}`: {error}", path.display());
    match fs::read_to_string(&path) {
        Ok(text) => parse(&text).ok_or_else(|| {
            let path = path.display();
            format!("`{path}` does not hold 32 hexadecimal digits; delete it for a new id")
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = NodeId(u128::from_be_bytes(chance()));
            write(folder, id).map_err(place)?;
            Ok(id)
        }
        Err(error) => Err(place(error)),
    }
}

/// Bytes that nobody can guess.
pub fn chance<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system has random numbers");
    bytes
}

fn parse(text: &str) -> Option<NodeId> {
    let text = text.trim();
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex { u128::from_str_radix(text, 16).ok().map(NodeId) } else { None }
}

/// Whole or not at all, also when the power fails.
fn write(folder: &Path, id: NodeId) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let new = folder.join(format!("{FILE}.new"));
    let mut file = File::create(&new)?;
    writeln!(file, "{id}")?;
    file.sync_all()?;
    fs::rename(&new, folder.join(FILE))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new");
        let id = load_or_create(&folder).unwrap();
        assert_eq!(load_or_create(&folder), Ok(id));
        assert_ne!(load_or_create(&folder.join("other")), Ok(id));
    }

    #[test]
    fn what_is_no_id_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let check = |text: &str| {
            fs::write(folder.path().join(FILE), text).unwrap();
            let error = load_or_create(folder.path()).unwrap_err();
            assert!(error.ends_with("delete it for a new id"), "{error}");
        };
        check("");
        check("12");
        check("+2345678901234567890123456789012");
        check(&"g".repeat(32));
    }
}
