//! The file in which `login` keeps keys: one entry an API, readable by its owner only, replaced whole.
//!
//! It keeps what it does not know, and never shows a key.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use tollgate_config::Environment;
use toml::{Table, Value};
use url::Url;

use super::shown;

/// The longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The entry that names the API logged in to last.
const CURRENT: &str = "current";
/// The table of kept keys, by their APIs' addresses.
const APIS: &str = "apis";

/// The file, and what is in it.
#[derive(Debug)]
pub(crate) struct Credentials {
    path: PathBuf,
    table: Table,
}

/// What is kept of one API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its address, as it was given.
    pub(crate) url: Url,
    /// The address below which `/v1` was found.
    pub(crate) base: Option<Url>,
    /// The key.
    pub(crate) key: String,
}

impl Credentials {
    /// Where the file is: `$XDG_CONFIG_HOME/tollgate/credentials.toml`, or below `~/.config`.
    ///
    /// # Errors
    /// Neither variable names a folder.
    pub(crate) fn path(environment: &dyn Environment) -> anyhow::Result<PathBuf> {
        // The specification of these folders has a relative path ignored.
        let folder = |name: &str| environment.variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let configuration = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")));
        let configuration =
            configuration.ok_or_else(|| anyhow!("neither $XDG_CONFIG_HOME nor $HOME names a folder"))?;
        Ok(configuration.join("tollgate").join("credentials.toml"))
    }

    /// Reads the file; one that is not there holds nothing.
    ///
    /// # Errors
    /// It cannot be read, or is not what `login` writes.
    pub(crate) fn read(path: PathBuf) -> anyhow::Result<Self> {
        let text = match std::fs::File::open(&path) {
            Ok(file) => {
                let mut text = String::new();
                let mut bounded = std::io::Read::take(file, FILE_BYTES_MAX);
                std::io::Read::read_to_string(&mut bounded, &mut text)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                text
            }
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        // The parser's own message repeats the line, which may hold a key.
        let table =
            text.parse::<Table>().map_err(|_| anyhow!("{} is not TOML; mend it or move it away", path.display()))?;
        let credentials = Self { path, table };
        if credentials.table.get(APIS).is_some_and(|apis| !apis.is_table()) {
            bail!("{}: `{APIS}` is no table; mend it or move it away", credentials.path.display());
        }
        Ok(credentials)
    }

    /// What is kept of an API, by its address or by the one below which its `/v1` was found.
    pub(crate) fn entry(&self, url: &Url) -> Option<Entry> {
        let same = |other: &Url| shown(other) == shown(url);
        self.entries().find(|entry| same(&entry.url) || entry.base.as_ref().is_some_and(same))
    }

    /// The API that was logged in to last, or the only one.
    pub(crate) fn current(&self) -> Option<Url> {
        let named = self.table.get(CURRENT).and_then(Value::as_str).and_then(|text| Url::parse(text).ok());
        named.filter(|url| self.entry(url).is_some()).or_else(|| {
            let mut entries = self.entries();
            let only = entries.next()?;
            entries.next().is_none().then_some(only.url)
        })
    }

    /// Every API whose key is kept.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        let apis = self.table.get(APIS).and_then(Value::as_table);
        apis.into_iter().flatten().filter_map(|(url, entry)| {
            let text = |name: &str| entry.get(name).and_then(Value::as_str);
            let url = Url::parse(url).ok()?;
            let base = text("base").and_then(|base| Url::parse(base).ok());
            // A file that was edited does not send a key to another host than the one that it stands under.
            let base = base.filter(|base| base.origin() == url.origin());
            Some(Entry { url, base, key: text("key")?.to_owned() })
        })
    }

    /// Puts an API's entry in place, and makes it the current one. Of the entry's other values nothing is lost.
    pub(crate) fn keep(&mut self, entry: &Entry) {
        self.table.insert(CURRENT.to_owned(), shown(&entry.url).into());
        let apis = self.table.entry(APIS).or_insert_with(|| Table::new().into());
        let Some(apis) = apis.as_table_mut() else { return };
        let kept = apis.entry(shown(&entry.url)).or_insert_with(|| Table::new().into());
        if !kept.is_table() {
            *kept = Table::new().into();
        }
        let Some(kept) = kept.as_table_mut() else { return };
        kept.insert("key".to_owned(), entry.key.clone().into());
        match &entry.base {
            Some(base) => kept.insert("base".to_owned(), shown(base).into()),
            None => kept.remove("base"),
        };
    }

    /// Takes an API's entry out; false when there was none.
    pub(crate) fn forget(&mut self, url: &Url) -> bool {
        let Some(entry) = self.entry(url) else { return false };
        let name = shown(&entry.url);
        if self.table.get(CURRENT).and_then(Value::as_str) == Some(&name) {
            self.table.remove(CURRENT);
        }
        // The address may stand there with the slash that is not shown.
        let apis = self.table.get_mut(APIS).and_then(Value::as_table_mut);
        apis.is_some_and(|apis| apis.remove(&name).or_else(|| apis.remove(entry.url.as_str())).is_some())
    }

    /// Writes the file: beside it first, then in its place, so that it is never half written and never readable by others.
    ///
    /// # Errors
    /// The folder or the file cannot be written.
    pub(crate) fn write(&self) -> anyhow::Result<()> {
        // A link to a file elsewhere stays a link.
        let path = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        let folder = path.parent().unwrap_or(Path::new("."));
        let failed = || format!("cannot write {}", path.display());
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(failed)?;
        let mut file = tempfile::NamedTempFile::new_in(folder).with_context(failed)?;
        let written = file.write_all(self.table.to_string().as_bytes()).and_then(|()| file.as_file().sync_all());
        written.with_context(failed)?;
        file.persist(&path).map_err(|error| error.error).with_context(failed)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect(text)
    }

    fn entry(at: &str, key: &str) -> Entry {
        Entry { url: url(at), base: Some(url(&format!("{}/tollgate", shown(&url(at))))), key: key.to_owned() }
    }

    #[test]
    fn the_file_is_found_where_the_variables_say() {
        for (xdg, home, expected) in [
            (Some("/x"), Some("/h"), Some("/x/tollgate/credentials.toml")),
            (None, Some("/h"), Some("/h/.config/tollgate/credentials.toml")),
            (Some("relative"), Some("/h"), Some("/h/.config/tollgate/credentials.toml")),
            (Some(""), None, None),
        ] {
            let environment = |name: &str| match name {
                "XDG_CONFIG_HOME" => xdg.map(ToOwned::to_owned),
                "HOME" => home.map(ToOwned::to_owned),
                _ => None,
            };
            assert_eq!(Credentials::path(&environment).ok(), expected.map(PathBuf::from), "{xdg:?} {home:?}");
        }
    }

    #[test]
    fn entries_are_kept_side_by_side_in_a_file_for_its_owner_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/tollgate/credentials.toml");
        let (one, other) = (entry("https://one.example/", "k1"), entry("https://other.example:8443/api", "k2"));
        for kept in [&one, &other] {
            let mut credentials = Credentials::read(path.clone()).expect("read");
            credentials.keep(kept);
            credentials.write().expect("written");
        }
        let text = std::fs::read_to_string(&path).expect("text");
        std::fs::write(&path, format!("note = \"mine\"\n{text}")).expect("edited");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("opened");

        let mut credentials = Credentials::read(path.clone()).expect("read");
        assert_eq!(credentials.current(), Some(other.url.clone()));
        assert_eq!(credentials.entry(&one.url), Some(one.clone()));
        assert_eq!(credentials.entry(&url("https://other.example:8443/api/tollgate/")), Some(other.clone()));
        assert!(credentials.forget(&other.url) && !credentials.forget(&other.url));
        credentials.keep(&Entry { key: "k3".to_owned(), ..one.clone() });
        credentials.write().expect("written");

        let credentials = Credentials::read(path.clone()).expect("read");
        assert_eq!(credentials.entries().map(|entry| entry.key).collect::<Vec<_>>(), ["k3"]);
        assert_eq!(credentials.table.get("note").and_then(Value::as_str), Some("mine"));
        let mode = std::fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let left: Vec<_> = std::fs::read_dir(path.parent().expect("folder")).expect("list").collect();
        assert_eq!(left.len(), 1, "nothing is left beside the file: {left:?}");
    }

    #[test]
    fn the_current_one_is_the_last_or_the_only_one() {
        let mut credentials = Credentials { path: PathBuf::new(), table: Table::new() };
        assert_eq!(credentials.current(), None);
        let entries = ["https://a.example", "https://b.example", "https://c.example"].map(|at| entry(at, "k"));
        for kept in &entries {
            credentials.keep(kept);
        }
        credentials.forget(&entries[2].url);
        assert_eq!(credentials.current(), None, "two are left, and neither was the last");
        credentials.forget(&entries[0].url);
        assert_eq!(credentials.current(), Some(entries[1].url.clone()));
    }

    #[test]
    fn a_broken_file_is_refused_without_showing_what_is_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("credentials.toml");
        for text in ["[apis.\"https://a.example\"]\nkey = secret-key", "apis = \"secret-key\""] {
            std::fs::write(&path, text).expect("written");
            let error = Credentials::read(path.clone()).expect_err(text).to_string();
            assert!(error.contains("mend it") && !error.contains("secret-key"), "{error}");
        }
        let elsewhere = "[apis.\"https://a.example\"]\nkey = \"k\"\nbase = \"https://evil.example\"";
        std::fs::write(&path, elsewhere).expect("written");
        let credentials = Credentials::read(path).expect("read");
        assert_eq!(credentials.entries().map(|entry| entry.base).collect::<Vec<_>>(), [None]);
    }
}
