//! Compatibility views of one version: where they are, and what code sees through them.
//!
//! Every connection of a version that was opened through the hook looks a name up in a database schema of that version's
//! own first. It exists only while a migration is under way that would break the version otherwise, and holds plain views
//! of tables as that version knew them. All other code sees the tables.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::model::{CompatView, ObjectName, Schema, hex, migration_of};

/// The longest identifier of PostgreSQL, in bytes.
const MAX_IDENTIFIER: usize = 63;

/// What the name of a database schema with a version's compatibility views begins with.
pub const VIEW_SCHEMA: &str = "schemadiff_";

/// Name of the database schema with the compatibility views of a version: `schemadiff_<app>_v<migration>`, cut to 63 bytes
/// with a hash in the end where it would be longer, or could be that of another application.
///
/// All builds with one newest migration share it: its views show the tables as that migration left them, whatever part of
/// them a build declares, and the plan that makes them knows no build.
pub fn view_schema(app: &str, version: &str) -> String {
    let version = migration_of(version);
    let name = format!("{VIEW_SCHEMA}{app}_v{version}");
    if name.len() <= MAX_IDENTIFIER && !app.contains("_v") {
        return name;
    }
    let mut hash = Sha256::new();
    for part in [app, version] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let hash = hex(&hash.finalize()[..8]);
    let kept = &name[..name.floor_char_boundary(MAX_IDENTIFIER - 1 - hash.len())];
    format!("{kept}_{hash}")
}

impl Schema {
    /// The schema as code sees it that looks names up in the database schema `views` first: see [`view_schema`]. Names with
    /// a database schema of their own go past the views.
    #[must_use]
    pub fn seen_through(&self, views: Option<&str>) -> Cow<'_, Self> {
        let own = |name: &ObjectName| views.is_some() && name.schema.as_deref() == views;
        if !self.compat_views.keys().any(own) {
            return Cow::Borrowed(self);
        }
        let mut seen = self.clone();
        for (name, view) in self.compat_views.iter().filter(|(name, _)| own(name)) {
            let name = ObjectName::new(name.name.clone());
            seen.compat_views.insert(name.clone(), CompatView { name, ..view.clone() });
        }
        Cow::Owned(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::view_schema;

    #[test]
    fn names_fit_and_stay_apart() {
        assert_eq!(view_schema("shop", "20260101000000_users"), "schemadiff_shop_v20260101000000_users");
        let long = "20260101000000_a_migration_with_a_name_that_is_rather_long_indeed";
        let (a, b) = (view_schema("shop", &format!("{long}_a")), view_schema("shop", &format!("{long}_b")));
        assert_ne!(a, b);
        assert!(a.len() <= 63 && b.len() <= 63, "{a} {b}");
        assert!(view_schema(&"ü".repeat(60), long).len() <= 63);
        assert_ne!(view_schema("a", "1_v2"), view_schema("a_v1", "2"));
        assert_eq!(view_schema("shop", "1_users+0123456789ab"), view_schema("shop", "1_users"));
    }
}
