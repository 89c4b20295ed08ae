//! What can be wrong with the file, by what is to be done about it.

use rusqlite::ErrorCode;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is set aside, and a new one begun.
    Corrupt(String),
    /// A later version of Starling has written it. As above.
    Newer { found: i64 },
    /// The oldest must make room; where that is not enough, it is tried again later.
    Full,
    /// Tried again later.
    Unusable(String),
    /// A question took too long.
    Interrupted,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Corrupt(reason) => write!(f, "the file is damaged: {reason}"),
            Self::Newer { found } => {
                write!(f, "the file is of version {found}, which a later Starling has written")
            }
            Self::Full => f.write_str("the disk is full, or less is free than history needs"),
            Self::Unusable(reason) => f.write_str(reason),
            Self::Interrupted => f.write_str("it took too long"),
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(text),
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::OperationInterrupted) => Self::Interrupted,
            Some(_) | None => Self::Unusable(text),
        }
    }
}

/// An error of the file system around it.
pub(super) fn of_io(error: &std::io::Error, what: &str) -> Fault {
    if error.kind() == std::io::ErrorKind::StorageFull {
        return Fault::Full;
    }
    Fault::Unusable(format!("{what}: {error}"))
}
