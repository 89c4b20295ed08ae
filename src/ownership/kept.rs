//! What ownership keeps on disk between two runs: the lines' state and the base of the quorum. A
//! file that is damaged counts as missing: the rules then ask the peers for more than they need to.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

const CHECKSUM_BYTES: usize = 4;

/// One file of one value.
#[derive(Clone, Debug)]
pub struct Kept {
    path: PathBuf,
}

impl Kept {
    pub fn new(folder: &Path, name: &str) -> Self {
        Self { path: folder.join(name) }
    }

    /// The value that was written last; the default where there is none.
    ///
    /// # Errors
    /// The file is there and can't be read, or is damaged.
    pub fn load<T: DeserializeOwned + Default>(&self) -> Result<T, String> {
        let place = |what: &dyn std::fmt::Display| format!("`{}`: {what}", self.path.display());
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
            Err(e) => return Err(place(&e)),
        };
        let damaged = || place(&"is damaged");
        let (checksum, value) = bytes.split_first_chunk::<CHECKSUM_BYTES>().ok_or_else(damaged)?;
        if u32::from_le_bytes(*checksum) != crc32c::crc32c(value) {
            return Err(damaged());
        }
        postcard::from_bytes(value).map_err(|_| damaged())
    }

    /// Blocking. Whole or not at all where the process ends meanwhile.
    pub fn save(&self, value: &impl Serialize) -> io::Result<()> {
        let value = postcard::to_stdvec(value).expect("plain values serialize into memory");
        let mut bytes = crc32c::crc32c(&value).to_le_bytes().to_vec();
        bytes.extend(value);
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let new = self.path.with_extension("new");
        fs::write(&new, bytes)?;
        fs::rename(new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::new(&folder.path().join("new"), "lines");
        assert_eq!(kept.load::<Vec<u64>>(), Ok(Vec::new()));
        kept.save(&vec![1_u64, 2]).unwrap();
        kept.save(&vec![3_u64]).unwrap();
        assert_eq!(kept.load::<Vec<u64>>(), Ok(vec![3]));
    }

    #[test]
    fn damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::new(folder.path(), "lines");
        kept.save(&vec![1_u64, 2, 3]).unwrap();
        let good = fs::read(&kept.path).unwrap();
        let check = |bytes: &[u8]| {
            fs::write(&kept.path, bytes).unwrap();
            let error = kept.load::<Vec<u64>>().unwrap_err();
            assert!(
                error.contains("lines` is damaged") || error.ends_with("is damaged"),
                "{error}"
            );
        };
        check(&good[..2]);
        check(&good[..good.len() - 1]);
        let mut flipped = good.clone();
        flipped[5] ^= 1;
        check(&flipped);
    }
}
