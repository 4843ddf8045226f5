//! A step while the plan is being made: what it does and what it must come after, but neither phase nor number yet.

use schemadiff::{
    model::{ObjectName, Schema},
    plan::{Assignment, Envelope, Generated, Hazard, Kept, Lock, Loss, Probe},
};

use super::carried::Disturbed;
use crate::dialect::{CompareSpec, Ddl};

/// What a step does to the schema. It sees only the tables the step touches.
pub(super) type Effect = Box<dyn Fn(&mut Schema)>;

/// A fill of one column, later merged with the others of its table into one pass.
#[derive(Debug, Clone)]
pub(super) struct Fill {
    /// Column and expression.
    pub assignment: Assignment,
    /// The expression as it was given, over the columns that there are before.
    pub expr: String,
    /// Which rows wait for it.
    pub pending: String,
    /// The trigger that fills the column for writers.
    pub sync: Option<String>,
    /// What it should hold in every row, where that can be said.
    pub compared: Option<CompareSpec>,
}

/// What is sent.
pub(super) enum Work {
    /// Statements.
    Sql(Vec<String>),
    /// Parts of an ALTER TABLE, with statements before and after it. Several of one table become one, so that the server writes the
    /// table anew once.
    Alter { before: Vec<String>, parts: Vec<String>, after: Vec<String> },
    /// Statements that a query gives.
    Generated(Generated),
    /// Fills, carried out as one backfill.
    Backfill(Vec<Fill>),
    /// A backfill with values that a function of the application gives; several columns that one call gives.
    Given(Vec<super::context::GivenFill>),
    /// A rebuild of the table from the state before to the state after; rendered when both are known, so that several
    /// rebuilds of one table become one. Pairs of (column, expression over the old columns), forth and back.
    Rebuild { copy: Vec<(String, String)>, copy_back: Vec<(String, String)> },
}

/// A step without phase and number. Tags are how steps name each other without knowing each other: a step comes after all
/// steps that bear one of its `after` tags. A tag that no step bears demands nothing.
pub(super) struct Proto {
    /// Ties are broken by it: a rank (what kind of step) and a text.
    pub order: (u8, String),
    /// What follows the number in the step's id.
    pub slug: String,
    pub title: String,
    pub cause: String,
    /// The first is the table the step is mainly about.
    pub touches: Vec<ObjectName>,
    pub envelope: Envelope,
    pub work: Work,
    pub effect: Effect,
    pub locks: Vec<Lock>,
    pub rewrites: bool,
    pub scans: bool,
    pub rebuilds_indexes: bool,
    pub hazards: Vec<Hazard>,
    /// Hazards that only exist when the step has to wait for contract.
    pub contract_hazards: Vec<Hazard>,
    pub done_when: Option<String>,
    pub clean_up: Option<String>,
    pub stopped_by: Option<String>,
    /// `None`: cannot be taken back.
    pub undo: Option<Vec<String>>,
    /// See [`schemadiff::plan::Step::undo_loses`].
    pub undo_loses: Vec<Loss>,
    /// The statements that take it back together with the step that has built its index, before contract.
    pub undo_along: Option<Vec<String>>,
    /// See [`schemadiff::plan::Step::undo_proof`].
    pub undo_proof: Vec<String>,
    /// See [`schemadiff::plan::Step::undo_probes`].
    pub undo_probes: Vec<Probe>,
    pub tags: Vec<String>,
    pub after: Vec<String>,
    /// It only clears the way for a step that waits for contract, and waits with it: before that it would cost something
    /// and gain nothing, and `abort` would have to make it again.
    pub prepares: bool,
    /// It changes an object, and is not needed where another step has made that as it shall be.
    pub changes_object: bool,
    /// What it sets aside instead of dropping it.
    pub keeps: Vec<Kept>,
    /// Statements before the rebuild, and after the one that takes it back.
    pub beside: (Vec<String>, Vec<String>),
    /// What must have nothing that depends on it while the step is carried out.
    pub disturbs: Vec<Disturbed>,
    /// And what else, while it is taken back.
    pub undo_disturbs: Vec<Disturbed>,
}

/// Rank of a step among those that could come next.
pub(super) mod rank {
    pub const SCHEMA: u8 = 2;
    pub const EXTENSION: u8 = 3;
    pub const VIEW: u8 = 5;
    pub const TYPE: u8 = 10;
    pub const ROUTINE: u8 = 12;
    pub const TABLE: u8 = 20;
    pub const COLUMN: u8 = 30;
    pub const BACKFILL: u8 = 40;
    pub const TIGHTEN: u8 = 45;
    pub const INDEX: u8 = 50;
    pub const CONSTRAINT: u8 = 60;
    pub const OBJECT: u8 = 65;
    pub const COMMENT: u8 = 70;
    pub const REMOVE: u8 = 80;
    pub const REMOVE_COLUMN: u8 = 85;
    pub const REMOVE_TABLE: u8 = 90;
    pub const REMOVE_TYPE: u8 = 95;
    pub const REMOVE_EXTENSION: u8 = 97;
    pub const REMOVE_SCHEMA: u8 = 98;
}

impl Proto {
    /// A short transaction with these statements.
    pub fn new(rank: u8, slug: impl Into<String>, title: impl Into<String>, table: &ObjectName) -> Self {
        let slug = slug.into();
        Self {
            order: (rank, slug.clone()),
            slug,
            title: title.into(),
            cause: String::new(),
            touches: vec![table.clone()],
            envelope: Envelope::Transaction,
            work: Work::Sql(Vec::new()),
            effect: Box::new(|_| {}),
            locks: Vec::new(),
            rewrites: false,
            scans: false,
            rebuilds_indexes: false,
            hazards: Vec::new(),
            contract_hazards: Vec::new(),
            done_when: None,
            clean_up: None,
            stopped_by: None,
            undo: Some(Vec::new()),
            undo_loses: Vec::new(),
            undo_along: None,
            undo_proof: Vec::new(),
            undo_probes: Vec::new(),
            tags: Vec::new(),
            after: Vec::new(),
            prepares: false,
            changes_object: false,
            keeps: Vec::new(),
            beside: (Vec::new(), Vec::new()),
            disturbs: Vec::new(),
            undo_disturbs: Vec::new(),
        }
    }

    pub fn sql(mut self, statements: impl IntoIterator<Item = String>) -> Self {
        if let Work::Sql(all) = &mut self.work {
            all.extend(statements);
        }
        self
    }

    /// Puts statements before those of the step, and others after them; then it is one with no other.
    pub fn around(mut self, ddl: &dyn Ddl, before: &[String], after: Vec<String>) -> Self {
        let own = match std::mem::replace(&mut self.work, Work::Sql(Vec::new())) {
            Work::Sql(own) => own,
            Work::Alter { before, parts, after } => {
                [before, vec![ddl.alter_table(self.table(), &parts)], after].concat()
            }
            other => {
                self.work = other;
                return self;
            }
        };
        self.work = Work::Sql([before.to_vec(), own, after].concat());
        self
    }

    /// Whether both are one step when they can come at the same time.
    pub fn becomes_one_with(&self, other: &Self) -> bool {
        let kinds = matches!(
            (&self.work, &other.work),
            (Work::Rebuild { .. }, Work::Rebuild { .. }) | (Work::Alter { .. }, Work::Alter { .. })
        );
        kinds && self.table() == other.table()
    }

    pub fn alter(mut self, before: Vec<String>, part: String, after: Vec<String>) -> Self {
        self.work = Work::Alter { before, parts: vec![part], after };
        self
    }

    pub fn envelope(mut self, envelope: Envelope) -> Self {
        self.envelope = envelope;
        self
    }

    pub fn rebuild(mut self, copy: Vec<(String, String)>, copy_back: Vec<(String, String)>) -> Self {
        self.envelope = Envelope::Rebuild;
        self.work = Work::Rebuild { copy, copy_back };
        self.rewrites = true;
        self
    }

    pub fn effect(mut self, effect: impl Fn(&mut Schema) + 'static) -> Self {
        self.effect = Box::new(effect);
        self
    }

    pub fn undo(mut self, statements: impl IntoIterator<Item = String>) -> Self {
        self.undo = Some(statements.into_iter().collect());
        self
    }

    pub fn undo_loses(mut self, losses: impl IntoIterator<Item = Loss>) -> Self {
        self.undo_loses.extend(losses);
        self
    }

    /// Takes the step that has built its index back along with this one, where both come before contract.
    pub fn undo_along(mut self, statements: Vec<String>) -> Self {
        self.undo_along = Some(statements);
        self
    }

    /// What proves what `undo` puts back.
    pub fn undo_proof(mut self, statements: impl IntoIterator<Item = String>) -> Self {
        self.undo_proof = statements.into_iter().collect();
        self
    }

    /// What must not be there for that.
    pub fn undo_probes(mut self, probes: impl IntoIterator<Item = Probe>) -> Self {
        self.undo_probes = probes.into_iter().collect();
        self
    }

    pub fn no_undo(mut self) -> Self {
        self.undo = None;
        self
    }

    /// It comes back only at a price that nobody pays while the tables are in use: then it waits for contract, and stays.
    pub fn one_way(mut self, one_way: bool) -> Self {
        if one_way {
            self.prepares = true;
            self.undo = None;
            self.undo_proof.clear();
            self.undo_probes.clear();
        }
        self
    }

    pub fn touching<'n>(mut self, tables: impl IntoIterator<Item = &'n ObjectName>) -> Self {
        for table in tables {
            if !self.touches.contains(table) {
                self.touches.push(table.clone());
            }
        }
        self
    }

    pub fn locks(mut self, locks: impl IntoIterator<Item = Lock>) -> Self {
        self.locks.extend(locks);
        self
    }

    pub fn hazard(mut self, hazard: impl IntoIterator<Item = Hazard>) -> Self {
        self.hazards.extend(hazard);
        self
    }

    /// Hazards that only exist when the step has to wait for contract.
    pub fn in_contract(mut self, hazard: impl IntoIterator<Item = Hazard>) -> Self {
        self.contract_hazards.extend(hazard);
        self
    }

    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    pub fn tags(mut self, tags: impl IntoIterator<Item = String>) -> Self {
        self.tags.extend(tags);
        self
    }

    pub fn after(mut self, tag: impl Into<String>) -> Self {
        self.after.push(tag.into());
        self
    }

    pub fn after_all(mut self, tags: impl IntoIterator<Item = String>) -> Self {
        self.after.extend(tags);
        self
    }

    pub fn prepares(mut self, prepares: bool) -> Self {
        self.prepares = prepares;
        self
    }

    pub fn changes_object(mut self) -> Self {
        self.changes_object = true;
        self
    }

    pub fn keeps(mut self, kept: Kept) -> Self {
        self.keeps.push(kept);
        self
    }

    pub fn beside_rebuild(mut self, forth: Vec<String>, back: Vec<String>) -> Self {
        self.beside = (forth, back);
        self
    }

    pub fn disturbs(mut self, what: impl IntoIterator<Item = Disturbed>) -> Self {
        self.disturbs.extend(what);
        self
    }

    pub fn undo_disturbs(mut self, what: Disturbed) -> Self {
        self.undo_disturbs.push(what);
        self
    }

    pub fn done_when(mut self, query: String) -> Self {
        self.done_when = Some(query);
        self
    }

    pub fn clean_up(mut self, query: Option<String>) -> Self {
        self.clean_up = query;
        self
    }

    pub fn stopped_by(mut self, query: Option<String>) -> Self {
        self.stopped_by = query;
        self
    }

    pub fn scans(mut self) -> Self {
        self.scans = true;
        self
    }

    pub fn rebuilds_indexes(mut self) -> Self {
        self.rebuilds_indexes = true;
        self
    }

    pub fn rewrites(mut self) -> Self {
        self.rewrites = true;
        self
    }

    /// The table it is mainly about.
    pub fn table(&self) -> &ObjectName {
        // `new` puts one in, and nothing takes one out.
        &self.touches[0]
    }
}

/// Tags, as sentences: "comes after the column exists".
pub(super) mod tag {
    use schemadiff::model::ObjectName;

    /// All enumerated types are as desired, as far as additions go.
    pub const TYPES: &str = "types";
    /// No column is of a type that is to be dropped.
    pub const TYPES_FREE: &str = "types-free";

    /// No domain is left that is to be dropped.
    pub const DOMAINS_GONE: &str = "domains-gone";
    /// All tables and columns are there that come in place or beside others.
    pub const ADDED: &str = "added";

    /// The type is as desired, as far as additions go.
    pub fn of_type(name: &ObjectName) -> String {
        format!("type {name}")
    }
    /// The label has its desired name.
    pub fn label(of: &ObjectName, label: &str) -> String {
        format!("label {of} {label:?}")
    }
    /// The type is gone.
    pub fn dropped_type(name: &ObjectName) -> String {
        format!("dropped type {name}")
    }
    /// The object exists as it shall be.
    pub fn object(name: &ObjectName) -> String {
        format!("object {name}")
    }
    /// No object needs it any more that shall not.
    pub fn released(name: &ObjectName) -> String {
        format!("released {name}")
    }
    /// The table exists under its desired name.
    pub fn table(table: &ObjectName) -> String {
        format!("table {table}")
    }
    /// The column exists.
    pub fn column(table: &ObjectName, column: &str) -> String {
        format!("column {table}.{column:?}")
    }
    /// The column exists, its old rows are filled, and it is NOT NULL if it shall be before contract.
    pub fn filled(table: &ObjectName, column: &str) -> String {
        format!("filled {table}.{column:?}")
    }
    /// The application has given the rows that existed before the migration their value.
    pub fn first_filled(table: &ObjectName, column: &str) -> String {
        format!("first filled {table}.{column:?}")
    }
    /// The backfill of the column has ended.
    pub fn backfilled(table: &ObjectName, column: &str) -> String {
        format!("backfilled {table}.{column:?}")
    }
    /// Indexes and constraints that the table gets are there, but for foreign keys.
    pub fn adds(table: &ObjectName) -> String {
        format!("adds {table}")
    }
    /// Foreign keys that the table gets are there. Apart from [`adds`], because a reference of the table to itself comes after
    /// its keys, and those may wait for what the table gets.
    pub fn refers(table: &ObjectName) -> String {
        format!("refers {table}")
    }
    /// The primary key of the table is what it shall be.
    pub fn primary_key(table: &ObjectName) -> String {
        format!("primary key {table}")
    }
    /// Unique indexes that the table gets are there.
    pub fn keys(table: &ObjectName) -> String {
        format!("keys {table}")
    }
    /// Unique indexes that the table gets are built, whether a constraint has adopted them yet or not.
    pub fn indexed(table: &ObjectName) -> String {
        format!("indexed {table}")
    }
    /// Nothing uses the column any more that shall not.
    pub fn unused(table: &ObjectName, column: &str) -> String {
        format!("unused {table}.{column:?}")
    }
    /// Foreign keys that reference the table and shall go are gone.
    pub fn unreferenced(table: &ObjectName) -> String {
        format!("unreferenced {table}")
    }
    /// Foreign keys that reference the table and go before anything else are gone. Taken back, one of them would otherwise stand
    /// on a key that the table has got meanwhile, and hold it.
    pub fn left(table: &ObjectName) -> String {
        format!("left {table}")
    }
    /// The keys of the table that are replaced or dropped are so, and the foreign keys that stand on them follow.
    pub fn rekeyed(table: &ObjectName) -> String {
        format!("rekeyed {table}")
    }
    /// The retiring version sees the table through a view of its own.
    pub fn shielded(table: &ObjectName) -> String {
        format!("shielded {table}")
    }
    /// The compatibility view on the table is gone.
    pub fn unviewed(table: &ObjectName) -> String {
        format!("unviewed {table}")
    }
    /// The constraint or index of that name is out of the way.
    pub fn freed(table: &ObjectName, name: &str) -> String {
        format!("freed {table}.{name:?}")
    }
    /// Nothing that rows can be read from has the name any more, be it a table, a view or a sequence.
    pub fn vacant(name: &ObjectName) -> String {
        format!("vacant {name}")
    }
    /// A step of its own name, for chains inside one operation.
    pub fn step(slug: &str) -> String {
        format!("step {slug}")
    }
}
