//! The options that every command understands.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What every subcommand understands.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Database address, `postgres://user@host/db` or `sqlite:PATH` [default: DATABASE_URL, from the environment or
    /// `.env`, or schemadiff.toml]
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Directory with the migrations [default: `migrations` beside Cargo.toml or schemadiff.toml]
    #[arg(long, global = true, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Output for people or for programs
    #[arg(long, global = true, value_enum, default_value_t)]
    pub format: Format,
    /// Short for `--format json`; `demo` ends with one JSON object on its last line
    #[arg(long, global = true)]
    pub json: bool,
    /// Say less
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more (-vv: also what is sent to the server)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Colour
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub color: Color,
    /// Which package and target the crate side is.
    #[command(flatten)]
    pub project: ProjectArgs,
}

/// Which package and target the crate side is, as cargo's own options say it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Package selection")]
pub struct ProjectArgs {
    /// Path to Cargo.toml
    #[arg(long, global = true, value_name = "PATH")]
    pub manifest_path: Option<PathBuf>,
    /// Package with the structs
    #[arg(short, long, global = true, value_name = "SPEC")]
    pub package: Option<String>,
    /// Read this binary target
    #[arg(long, global = true, value_name = "NAME", group = "target_kind")]
    pub bin: Option<String>,
    /// Read the library target
    #[arg(long, global = true, group = "target_kind")]
    pub lib: bool,
    /// Read this example target
    #[arg(long, global = true, value_name = "NAME", group = "target_kind")]
    pub example: Option<String>,
    /// Features to activate
    #[arg(short = 'F', long, global = true, value_name = "FEATURES", value_delimiter = ',')]
    pub features: Vec<String>,
    /// Activate all features
    #[arg(long, global = true)]
    pub all_features: bool,
    /// Do not activate the `default` feature
    #[arg(long, global = true)]
    pub no_default_features: bool,
    /// Build in release mode
    #[arg(short, long, global = true, conflicts_with = "profile")]
    pub release: bool,
    /// Build with this profile
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,
    /// Directory for what is built
    #[arg(long, global = true, value_name = "DIR")]
    pub target_dir: Option<PathBuf>,
    /// Require an unchanged Cargo.lock
    #[arg(long, global = true)]
    pub locked: bool,
    /// Do not use the network
    #[arg(long, global = true)]
    pub offline: bool,
    /// Both --locked and --offline
    #[arg(long, global = true)]
    pub frozen: bool,
}

/// Output format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text.
    #[default]
    Human,
    /// One JSON document on standard output.
    Json,
}

/// When to colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// When it is a terminal, `NO_COLOR` and `CLICOLOR_FORCE` obeyed.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How old and new code live side by side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StrategyArg {
    /// Views where every connection of the old version is known to see them, else synced columns.
    #[default]
    Auto,
    /// Compatibility views for the old version; its connections must be opened through the hook.
    Views,
    /// New columns beside the old ones, kept in step by triggers.
    Synced,
}
