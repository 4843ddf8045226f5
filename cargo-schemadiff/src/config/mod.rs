//! `schemadiff.toml`, `.env`, and where things are.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use schemadiff::{lockstep::Pace, model::Dialect};
use serde::Deserialize;

mod options;
mod pace;

use crate::{Error, Kind, Result};

pub use options::{Color, Format, GlobalArgs, ProjectArgs, StrategyArg};
pub use pace::{How, parse_duration, parse_stall};

const FILE: &str = "schemadiff.toml";

/// `schemadiff.toml`, beside the package's or the workspace's Cargo.toml.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct File {
    /// The engine, where no address says so.
    pub dialect: Option<Dialect>,
    /// Address of the database.
    #[serde(alias = "database_url")]
    pub database_url: Option<String>,
    /// Name of the environment variable that holds the address, in place of `DATABASE_URL`.
    #[serde(alias = "database_url_var")]
    pub database_url_var: Option<String>,
    /// Migrations directory, relative to this file.
    pub dir: Option<PathBuf>,
    /// Database schemas to read; all when empty.
    pub schemas: Vec<String>,
    /// Package with the structs.
    pub package: Option<String>,
    /// Binary target with the structs.
    pub bin: Option<String>,
    /// Library target has the structs.
    pub lib: bool,
    /// Example target with the structs.
    pub example: Option<String>,
    /// Features to activate.
    pub features: Vec<String>,
    /// Name under which this application's migrations stand in the ledger; the package's name when it is not given.
    pub app: Option<String>,
    /// The longest that a statement of an application may wait for a migration.
    #[serde(alias = "max_stall", deserialize_with = "pace::stall")]
    pub max_stall: Option<Duration>,
    /// How long a version that is gone is still waited for before a contract phase leaves it behind: `"1h"`.
    #[serde(deserialize_with = "pace::duration")]
    pub soak: Option<Duration>,
    /// How long tables and columns that contract phases drop are kept, where the engine can do that cheaply: `"7d"`. What was
    /// kept for so long is dropped by whoever migrates next.
    #[serde(alias = "undo_window", deserialize_with = "pace::duration")]
    pub undo_window: Option<Duration>,
    /// How backfills work.
    pub backfill: pace::Backfill,
    /// Above what they wait.
    pub throttle: pace::Throttle,
    /// How old and new code live side by side where there is a choice: `auto`, `views` or `synced`.
    pub strategy: Option<StrategyArg>,
    /// Applications all of whose connections are opened through the hook, by the names given to `Lockstep::builder`.
    #[serde(alias = "hooked_apps")]
    pub hooked_apps: Vec<String>,
}

/// Settings from the command line, the environment and `schemadiff.toml`, in this order.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The options.
    pub args: GlobalArgs,
    /// The file's content, empty without a file.
    pub file: File,
    /// Directory that defaults are relative to: the one with `schemadiff.toml` or Cargo.toml, else the current one.
    pub base: PathBuf,
}

impl Config {
    /// Finds and reads the settings.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a file that cannot be read or understood.
    pub fn load(args: &GlobalArgs) -> Result<Self> {
        let start = match &args.project.manifest_path {
            Some(manifest) => manifest.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")),
            None => Path::new("."),
        };
        let start = std::path::absolute(start).unwrap_or_else(|_| start.to_path_buf());
        let start = match &args.project.package {
            Some(package) => package_dir(&start, package).unwrap_or(start),
            None => start,
        };
        let found = start.ancestors().find(|dir| dir.join(FILE).is_file());
        let base = start.ancestors().find(|d| d.join(FILE).is_file() || d.join("Cargo.toml").is_file());
        let base = base.unwrap_or(&start).to_path_buf();
        let file = match found {
            Some(dir) => read_file(&dir.join(FILE))?,
            None => File::default(),
        };
        let mut args = args.clone();
        fill_from_file(&mut args, &file);
        Ok(Self { args, file, base })
    }

    /// The application's name in the ledger: what `schemadiff.toml` says, or the name of the package; none where there is no
    /// package, as in a production image.
    pub fn app(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Manifest {
            package: Named,
        }
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        let package = || {
            let text = std::fs::read_to_string(self.base.join("Cargo.toml")).ok()?;
            Some(toml::from_str::<Manifest>(&text).ok()?.package.name)
        };
        self.file.app.clone().or_else(|| self.args.project.package.clone()).or_else(package)
    }

    /// How long a version that is gone is still waited for; the argument is what the command line says.
    pub fn soak(&self, given: Option<Duration>) -> Duration {
        given.or(self.file.soak).unwrap_or_default()
    }

    /// How gentle and how careful migrations are; the arguments are what the command line says.
    pub fn pace(&self, max_stall: Option<Duration>, compare: Option<How>) -> Pace {
        pace::pace(max_stall, compare, &self.file)
    }

    /// The migrations directory.
    pub fn dir(&self) -> PathBuf {
        match (&self.args.dir, &self.file.dir) {
            (Some(dir), _) => dir.clone(),
            (None, Some(dir)) => self.base_of_file().join(dir),
            (None, None) => self.base.join("migrations"),
        }
    }

    /// Whether the command line names that directory.
    #[must_use]
    pub fn names_dir(&self) -> bool {
        self.args.dir.is_some()
    }

    fn base_of_file(&self) -> &Path {
        self.base.ancestors().find(|dir| dir.join(FILE).is_file()).unwrap_or(&self.base)
    }

    /// The database's address, when one is configured: option, environment, `.env`, `schemadiff.toml`.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a `.env` that cannot be parsed.
    pub fn database_url(&self) -> Result<Option<String>> {
        Ok(self.address()?.map(|(url, _)| url))
    }

    /// The address and where it comes from. An empty variable or key is none: that is how both are unset.
    fn address(&self) -> Result<Option<(String, String)>> {
        let variable = self.variable();
        let set = |url: &String| !url.trim().is_empty();
        if let Some(url) = &self.args.database_url {
            return Ok(Some((url.clone(), "--database-url".to_owned())));
        }
        if let Some(url) = std::env::var(variable).ok().filter(set) {
            return Ok(Some((url, format!("{variable} in the environment"))));
        }
        if let Some(url) = dot_env(&self.base, variable)?.filter(set) {
            return Ok(Some((url, format!("{variable} in .env"))));
        }
        Ok(self.file.database_url.clone().filter(set).map(|url| (url, format!("`database-url` in {FILE}"))))
    }

    fn variable(&self) -> &str {
        self.file.database_url_var.as_deref().unwrap_or("DATABASE_URL")
    }

    /// The address and where it comes from, or the error that says where it could have come from.
    ///
    /// # Errors
    /// [`Kind::Usage`] when there is none.
    pub fn require_address(&self) -> Result<(String, String)> {
        self.address()?.ok_or_else(|| {
            Error::new(Kind::Usage, "SD0210", "no database is named")
                .help(format!("pass --database-url, or set {} in the environment or in .env", self.variable()))
                .help("or write `database-url = \"…\"` into schemadiff.toml")
        })
    }
}

/// The directory of a workspace member; nothing when cargo is not there or does not know it (whoever needs the package
/// then says so).
fn package_dir(start: &Path, package: &str) -> Option<PathBuf> {
    let mut command = cargo_metadata::MetadataCommand::new();
    command.current_dir(start).no_deps();
    let metadata = command.exec().ok()?;
    let found = metadata.packages.iter().find(|p| p.name.as_str() == package)?;
    found.manifest_path.parent().map(|dir| dir.as_std_path().to_path_buf())
}

fn read_file(path: &Path) -> Result<File> {
    let error = |cause: String| {
        Error::new(Kind::Usage, "SD0211", format!("{} cannot be used", path.display()))
            .cause(cause)
            .help("docs/commands.md lists every key of schemadiff.toml")
    };
    let text = std::fs::read_to_string(path).map_err(|e| error(e.to_string()))?;
    toml::from_str(&text).map_err(|e| {
        // Without the snippet that the parser shows: the line may hold a password.
        let line = e.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        error(format!("line {line}: {}", e.message()))
    })
}

fn fill_from_file(args: &mut GlobalArgs, file: &File) {
    let project = &mut args.project;
    if project.package.is_none() {
        project.package.clone_from(&file.package);
    }
    if project.bin.is_none() && !project.lib && project.example.is_none() {
        project.bin.clone_from(&file.bin);
        project.lib = file.lib;
        project.example.clone_from(&file.example);
    }
    if project.features.is_empty() {
        project.features.clone_from(&file.features);
    }
}

/// The variable's value in the nearest `.env`, without changing this process's environment.
fn dot_env(base: &Path, variable: &str) -> Result<Option<String>> {
    let current = std::env::current_dir().unwrap_or_default();
    let Some(path) = current.ancestors().chain(base.ancestors()).map(|d| d.join(".env")).find(|p| p.is_file()) else {
        return Ok(None);
    };
    let error = |e: dotenvy::Error| {
        // The line is not repeated: it may hold a password.
        let cause = match e {
            dotenvy::Error::LineParse(_, at) => format!("a line does not parse, at its character {at}"),
            other => other.to_string(),
        };
        Error::new(Kind::Usage, "SD0212", format!("{} cannot be read", path.display()))
            .cause(cause)
            .help("write lines of the form NAME=value")
    };
    for pair in dotenvy::from_path_iter(&path).map_err(error)? {
        let (name, value) = pair.map_err(error)?;
        if name == variable {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_in(dir: &Path) -> Result<Config> {
        let mut args = GlobalArgs::default();
        args.project.manifest_path = Some(dir.join("Cargo.toml"));
        Config::load(&args)
    }

    #[test]
    fn the_nearest_file_decides() -> std::io::Result<()> {
        let root = tempfile::tempdir()?;
        let package = root.path().join("shop");
        std::fs::create_dir(&package)?;
        std::fs::write(package.join("Cargo.toml"), "")?;
        std::fs::write(root.path().join(FILE), "dialect = \"sqlite\"\ndir = \"db/migrations\"\n")?;
        let config = config_in(&package).map_err(std::io::Error::other)?;
        assert_eq!(config.file.dialect, Some(Dialect::Sqlite));
        assert_eq!(config.base, package);
        assert_eq!(config.dir(), root.path().join("db/migrations"));
        std::fs::write(package.join(FILE), "")?;
        assert_eq!(config_in(&package).map_err(std::io::Error::other)?.dir(), package.join("migrations"));
        Ok(())
    }

    #[test]
    fn an_unknown_key_is_named() -> std::io::Result<()> {
        let root = tempfile::tempdir()?;
        std::fs::write(root.path().join(FILE), "databse-url = \"sqlite:x\"\n")?;
        let error = config_in(root.path()).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("SD0211") && error.contains("databse-url"), "{error}");
        Ok(())
    }

    #[test]
    fn a_mistake_is_told_with_its_line() -> std::io::Result<()> {
        let root = tempfile::tempdir()?;
        for (text, line) in [("nonsense = 1\n", 1), ("dir = \"x\"\nnonsense = 1\n", 2), ("dir = \"x\"\ndialect = 5", 2)]
        {
            std::fs::write(root.path().join(FILE), text)?;
            let error = config_in(root.path()).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains(&format!("line {line}:")), "{text}: {error}");
        }
        Ok(())
    }

    #[test]
    fn an_empty_address_is_none_and_the_advice_names_what_is_read() -> std::io::Result<()> {
        let root = tempfile::tempdir()?;
        let variable = "SCHEMADIFF_TEST_ANOTHER_VARIABLE";
        std::fs::write(root.path().join(FILE), format!("database-url-var = \"{variable}\"\n"))?;
        std::fs::write(root.path().join(".env"), format!("{variable}=\n"))?;
        let error = config_in(root.path()).map_err(std::io::Error::other)?.require_address();
        let error = error.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("SD0210") && error.contains(variable) && !error.contains("DATABASE_URL"), "{error}");
        std::fs::write(root.path().join(".env"), format!("{variable}=sqlite:x\n"))?;
        let found = config_in(root.path()).map_err(std::io::Error::other)?.require_address();
        assert_eq!(found.map_err(std::io::Error::other)?, ("sqlite:x".to_owned(), format!("{variable} in .env")));
        Ok(())
    }

    #[test]
    fn the_address_comes_from_dot_env_before_the_file() -> std::io::Result<()> {
        let root = tempfile::tempdir()?;
        std::fs::write(root.path().join("Cargo.toml"), "")?;
        let variable = "SCHEMADIFF_TEST_NO_SUCH_VARIABLE";
        let file = format!("database-url = \"sqlite:from-file\"\ndatabase-url-var = \"{variable}\"\n");
        std::fs::write(root.path().join(FILE), file)?;
        let config = config_in(root.path()).map_err(std::io::Error::other)?;
        assert_eq!(config.database_url().map_err(std::io::Error::other)?.as_deref(), Some("sqlite:from-file"));
        std::fs::write(root.path().join(".env"), format!("{variable}=sqlite:from-env\n"))?;
        assert_eq!(config.database_url().map_err(std::io::Error::other)?.as_deref(), Some("sqlite:from-env"));
        Ok(())
    }
}
