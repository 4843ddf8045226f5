//! What every command works with.

use schemadiff::model::Dialect;

use crate::{
    Error, Kind, Result,
    config::{Color, Config, Format, GlobalArgs},
    dialect::{Scope, dialect_of},
    migrations::Migrations,
    report::Report,
    side::Side,
};

/// Settings and output.
#[derive(Debug, Clone)]
pub struct Context {
    /// Settings.
    pub config: Config,
    /// Output.
    pub report: Report,
}

/// Output as the options say; sets the colour choice of the process.
pub fn report(args: &GlobalArgs) -> Report {
    let choice = match args.color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
    Report { json: args.json || args.format == Format::Json, quiet: args.quiet, verbose: args.verbose }
}

impl Context {
    /// As the options say.
    ///
    /// # Errors
    /// For a configuration file that cannot be used.
    pub fn new(args: &GlobalArgs) -> Result<Self> {
        Ok(Self { report: report(args), config: Config::load(args)? })
    }

    /// What is read from a database.
    pub fn scope(&self) -> Scope {
        Scope { schemas: self.config.file.schemas.clone() }
    }

    /// The database as a side.
    ///
    /// # Errors
    /// When none is configured.
    pub fn database_side(&self) -> Result<Side> {
        self.database_url().map(Side::Database)
    }

    /// The database's address.
    ///
    /// # Errors
    /// When none is configured, or one of no known form; then it says where it came from.
    pub fn database_url(&self) -> Result<String> {
        let (url, source) = self.config.require_address()?;
        match dialect_of(&url) {
            Err(error) if error.cause.is_none() => Err(error.cause(format!("it comes from {source}"))),
            _ => Ok(url),
        }
    }

    /// The engine, from whatever says so first: the sides, `schemadiff.toml`, the lock file, the database's address.
    ///
    /// # Errors
    /// When nothing says so, or the sides contradict each other.
    pub fn dialect(&self, sides: &[(&Side, Option<Dialect>)], migrations: &Migrations) -> Result<Dialect> {
        let mut known = sides.iter().filter_map(|(side, dialect)| Some((*side, (*dialect)?)));
        if let Some((first, dialect)) = known.next() {
            if let Some((second, other)) = known.find(|(_, other)| *other != dialect) {
                return Err(Error::new(Kind::Usage, "SD0215", "the two sides are of different engines")
                    .cause(format!("{first} is {dialect}, {second} is {other}"))
                    .help("compare sides of one engine"));
            }
            return Ok(dialect);
        }
        if let Some(dialect) = self.config.file.dialect.or(migrations.lock.as_ref().map(|lock| lock.dialect)) {
            return Ok(dialect);
        }
        match self.config.database_url()? {
            Some(url) => dialect_of(&url),
            None => Err(Error::new(Kind::Usage, "SD0214", "the engine is not known")
                .help("write `dialect = \"postgres\"` or `dialect = \"sqlite\"` into schemadiff.toml")
                .help("or pass --database-url")),
        }
    }
}
