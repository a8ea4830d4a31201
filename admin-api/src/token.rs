//! The operator's token: how it is compared, and the file it is kept in where the configuration names none.

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Random bytes in a token that is made here.
const RANDOM_BYTES: usize = 32;
/// Longest token, in bytes: what fits a header with room to spare.
const TOKEN_BYTES_MAX: usize = 1_024;

/// The secret that opens the operator API. It prints redacted.
#[derive(Clone)]
pub struct OperatorToken {
    text: Box<str>,
    digest: [u8; 32],
}

impl OperatorToken {
    /// A token of this text: visible ASCII, so that it can stand in a header.
    ///
    /// # Errors
    /// It is empty, too long, or holds anything else.
    pub fn new(text: &str) -> Result<Self, InvalidToken> {
        let fits = (1..=TOKEN_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits {
            return Err(InvalidToken);
        }
        Ok(Self { text: text.into(), digest: Sha256::digest(text.as_bytes()).into() })
    }

    /// Whether the text that was sent is this token. Both are hashed first, so the time tells neither how much
    /// of it is right nor how long it is.
    pub fn matches(&self, sent: &[u8]) -> bool {
        let sent: [u8; 32] = Sha256::digest(sent).into();
        self.digest.ct_eq(&sent).into()
    }

    /// The secret itself, for whoever speaks to the operator API.
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for OperatorToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("OperatorToken(redacted)")
    }
}

/// A text that cannot be a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an operator token is 1 to 1024 letters, digits and signs, without spaces")]
pub struct InvalidToken;

/// Why the file of the operator's token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read or made.
    #[error("cannot {action} the operator token's file {}: {cause}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// It holds something else.
    #[error("{} holds no operator token: delete it, and a new one is made", .0.display())]
    Malformed(PathBuf),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes for the operator token")]
    NoRandomness,
}

/// The token in this file; if there is none yet, it is made from 256 random bits and kept, readable by its owner only.
///
/// A file that others could read is closed to them, with a warning in the log. A file that is there is never replaced,
/// also not when two processes start at once: both end with the same token.
///
/// # Errors
/// The file cannot be read or made, or holds no token.
pub fn load_or_create_token(path: &Path) -> Result<OperatorToken, TokenFileError> {
    match load(path)? {
        Some(token) => Ok(token),
        None => create(path),
    }
}

fn load(path: &Path) -> Result<Option<OperatorToken>, TokenFileError> {
    let failed = |action| move |cause| TokenFileError::Io { action, path: path.into(), cause };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(TokenFileError::Malformed(path.into()));
        }
        Err(error) => return Err(failed("read")(error)),
    };
    let mode = fs::metadata(path).map_err(failed("read"))?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed("protect"))?;
        tracing::warn!(path = %path.display(), "others could read the operator token's file; now only its owner can");
    }
    OperatorToken::new(text.trim()).map(Some).map_err(|InvalidToken| TokenFileError::Malformed(path.into()))
}

/// Written whole under another name and then linked into place, which fails where a file has appeared meanwhile.
fn create(path: &Path) -> Result<OperatorToken, TokenFileError> {
    let failed = |cause| TokenFileError::Io { action: "make", path: path.into(), cause };
    let mut random = [0_u8; RANDOM_BYTES];
    getrandom::fill(&mut random).map_err(|_| TokenFileError::NoRandomness)?;
    let text = hex::encode(random);
    let scratch = path.with_added_extension(format!("{}.new", &text[..8]));
    let written = write_private(&scratch, &text).and_then(|()| fs::hard_link(&scratch, path));
    let removed = fs::remove_file(&scratch);
    match written {
        Ok(()) => removed.map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    sync_folder(path).map_err(failed)?;
    load(path)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(format!("{text}\n").as_bytes())?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_matches() {
        let token = OperatorToken::new("correct-horse").expect("a good token");
        assert!(token.matches(b"correct-horse"));
        for wrong in ["", "correct-hors", "correct-horse ", "Correct-horse", "correct-horsf"] {
            assert!(!token.matches(wrong.as_bytes()), "{wrong}");
        }
        assert_eq!(format!("{token:?}"), "OperatorToken(redacted)");
        for bad in ["", "two words", "é", &"x".repeat(1_025)] {
            assert_eq!(OperatorToken::new(bad).expect_err(bad), InvalidToken);
        }
    }

    #[test]
    fn a_token_is_made_once_and_readable_by_its_owner_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin-token");
        let made = load_or_create_token(&path).expect("it is made");
        assert_eq!(made.reveal().len(), 64);
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
        assert_eq!(load_or_create_token(&path).expect("it is read").reveal(), made.reveal());
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1, "nothing else is left behind");
    }

    #[test]
    fn starting_twice_at_once_gives_one_token() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin-token");
        let tokens: Vec<String> = std::thread::scope(|scope| {
            let starts: Vec<_> =
                (0..8).map(|_| scope.spawn(|| load_or_create_token(&path).expect("a token"))).collect();
            starts.into_iter().map(|start| start.join().expect("no panic").reveal().to_owned()).collect()
        });
        assert!(tokens.iter().all(|token| *token == tokens[0]));
    }

    #[test]
    fn an_open_file_is_closed_to_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin-token");
        fs::write(&path, "secret\n").expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("opened");
        assert_eq!(load_or_create_token(&path).expect("it is read").reveal(), "secret");
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_holds_no_token_is_named_and_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin-token");
        for content in [&b""[..], b"two words", b"\xff\xfe"] {
            fs::write(&path, content).expect("written");
            let error = load_or_create_token(&path).expect_err("no token");
            assert!(error.to_string().contains("admin-token") && error.to_string().contains("delete it"), "{error}");
            assert_eq!(fs::read(&path).expect("still there"), content);
        }
        let error = load_or_create_token(&folder.path().join("missing/admin-token")).expect_err("no folder");
        assert!(error.to_string().contains("missing/admin-token"), "{error}");
    }
}
