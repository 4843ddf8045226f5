//! A type as constants, so that the compiler can put it into the link section.

/// Stands between the fields of a hole in the link section.
pub(crate) const SEPARATOR: &str = "\u{3}";

/// The SQL type of a Rust type, on every engine.
///
/// The spellings must be what a driver decodes into the Rust type; an empty one says that the engine has no such type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeDesc {
    pub(crate) postgres: &'static str,
    pub(crate) mysql: &'static str,
    pub(crate) sqlite: &'static str,
    pub(crate) nullable: bool,
    pub(crate) array: bool,
    /// JSON of the enumeration behind the type; written by the derive.
    pub(crate) enumeration: Option<&'static str>,
    /// Named by the user and not by a Rust type, so that it is not compared with other types at compile time.
    pub(crate) named: bool,
}

impl TypeDesc {
    /// A NOT NULL type by its spelling on PostgreSQL, on MySQL and on SQLite; empty where there is none.
    #[must_use]
    pub const fn new(postgres: &'static str, mysql: &'static str, sqlite: &'static str) -> Self {
        Self { postgres, mysql, sqlite, nullable: false, array: false, enumeration: None, named: false }
    }

    /// The same type, but NULL is allowed.
    #[must_use]
    pub const fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }

    /// An array of it, where the engine has arrays. An array of arrays is the same type on PostgreSQL.
    #[must_use]
    pub const fn array(mut self) -> Self {
        self.array = true;
        self.nullable = false;
        self.mysql = "";
        self.sqlite = "";
        self
    }

    /// The same type, under a name that PostgreSQL has for it.
    #[doc(hidden)]
    #[must_use]
    pub const fn on_postgres(mut self, name: &'static str) -> Self {
        self.postgres = name;
        // The name is that of the whole.
        self.array = false;
        self
    }

    /// An enumeration: `json` is its declaration.
    #[doc(hidden)]
    #[must_use]
    pub const fn enumeration(postgres: &'static str, json: &'static str) -> Self {
        let mut desc = Self::new(postgres, "varchar(255)", "TEXT");
        desc.enumeration = Some(json);
        desc
    }

    /// A type that the user spelled out.
    #[doc(hidden)]
    #[must_use]
    pub const fn named(postgres: &'static str, mysql: &'static str, sqlite: &'static str, nullable: bool) -> Self {
        let mut desc = Self::new(postgres, mysql, sqlite);
        desc.nullable = nullable;
        desc.named = true;
        desc
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_on_postgresql_is_that_of_the_whole() {
        let text = TypeDesc::new("text", "text", "TEXT");
        assert_eq!(text.on_postgres("citext"), TypeDesc::new("citext", "text", "TEXT"));
        assert_eq!(text.array().on_postgres("tags"), TypeDesc::new("tags", "", ""));
        assert!(text.nullable().on_postgres("citext").nullable);
    }
}
