//! Sides that are code: the structs of a package, or those in a built binary.

use schemadiff::{
    artifact::TableDecl,
    model::{Dialect, Schema},
};

use super::context::Context;
use crate::{
    Result,
    config::ProjectArgs,
    diff::Hints,
    project::{self, CrateSelection, TargetSelection},
    side::Side,
};

/// The derived tables of a side that is code.
///
/// # Errors
/// When the package does not build, or the artifact cannot be read.
pub fn read(context: &Context, side: &Side) -> Result<Vec<TableDecl>> {
    match side {
        Side::Artifact(path) => project::read_artifact(path),
        _ => {
            let show_progress = !context.report.quiet && !context.report.json;
            let selection = selection(&context.config.args.project, show_progress);
            Ok(project::build_and_read(&selection)?.tables)
        }
    }
}

fn selection(args: &ProjectArgs, show_progress: bool) -> CrateSelection {
    let target = match (&args.bin, &args.example, args.lib) {
        (Some(name), ..) => TargetSelection::Bin(name.clone()),
        (None, Some(name), _) => TargetSelection::Example(name.clone()),
        (None, None, true) => TargetSelection::Lib,
        (None, None, false) => TargetSelection::Default,
    };
    CrateSelection {
        manifest_path: args.manifest_path.clone(),
        package: args.package.clone(),
        target,
        features: args.features.clone(),
        all_features: args.all_features,
        no_default_features: args.no_default_features,
        profile: args.profile.clone(),
        release: args.release,
        target_dir: args.target_dir.clone(),
        locked: args.locked,
        offline: args.offline,
        frozen: args.frozen,
        show_progress,
    }
}

/// The schema that they are on one engine, and what they say about the way there.
///
/// # Errors
/// Everything that the engine cannot have, or that contradicts itself.
pub fn lower(tables: &[TableDecl], dialect: Dialect) -> Result<(Schema, Hints)> {
    let lowered = schemadiff::artifact::lower(tables, dialect).map_err(|errors| project::refused(&errors))?;
    Ok((lowered.schema, lowered.hints))
}
