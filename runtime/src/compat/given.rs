//! Constraints over columns that code does not know. What it writes gets a value there all the same, from a default or a trigger, and
//! a constraint may refuse the row for it: `p int DEFAULT 1 REFERENCES p` where there is no 1, a second row under `UNIQUE`.

use super::{Reason, is_not_null_check, members::CodeNames};
use crate::model::{Column, Deferrable, Dialect, Given, Table, expr, implies, lets_in};

/// Reports what may refuse rows of the code for values that are not its own.
pub(super) fn compare(dialect: Dialect, base: &Table, declared: &Table, names: &CodeNames, reasons: &mut Vec<Reason>) {
    let given = |column: &Column| names.of(&column.name).is_none().then(|| given(base, column));
    let of = |name: &String| base.column(name).and_then(given);
    let mut refuse = |name: &str| {
        let reason = Reason::Constrained { table: declared.name.clone(), constraint: name.to_owned() };
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    };
    for (name, check) in &base.checks {
        let proves_itself = base.columns.iter().any(|c| is_not_null_check(&check.expr, &c.name));
        let unknown = base.columns.iter().any(|c| given(c).is_some() && expr::mentions(&check.expr, &c.name));
        let keeps = |part: &str| {
            let part = expr::map_columns(part, |name| names.of(name).map(str::to_owned));
            declared.checks.values().any(|c| implies(dialect, &declared.columns, &c.expr, &part))
        };
        if unknown && !proves_itself && !lets_in(dialect, &base.columns, &check.expr, &given, &keeps) {
            refuse(name);
        }
    }
    for (name, key) in &base.foreign_keys {
        let unknown: Vec<Given> = key.columns.iter().filter_map(of).collect();
        // Where the code changes a column of its own, the row may be another's, and refer to something.
        let all = unknown.len() == key.columns.len();
        let no_reference = all
            && match key.match_full {
                true => unknown.iter().all(|given| *given == Given::Null),
                false => unknown.contains(&Given::Null),
            };
        if !unknown.is_empty() && !no_reference {
            refuse(name);
        }
    }
    for key in unique_keys(base) {
        let unknown: Vec<Given> = key.columns.iter().filter_map(of).collect();
        let in_text =
            base.columns.iter().any(|c| given(c).is_some() && key.texts.iter().any(|t| expr::mentions(t, &c.name)));
        let all = unknown.len() == key.columns.len() && key.texts.is_empty();
        let differs =
            all && (unknown.contains(&Given::Fresh) || unknown.contains(&Given::Null) && !key.nulls_not_distinct);
        let known: Vec<&str> = key.columns.iter().filter_map(|column| names.of(column)).collect();
        // Whoever keeps to a key over fewer columns keeps to this one too.
        let implied = unique_keys(declared).any(|own| {
            let within = own.columns.iter().all(|column| known.contains(&column.as_str()));
            let nulls = own.nulls_not_distinct || !key.nulls_not_distinct;
            own.texts.is_empty() && within && nulls && own.deferrable <= key.deferrable && key.sorts_plainly
        });
        if (in_text || !unknown.is_empty()) && !differs && !implied {
            refuse(key.name);
        }
    }
}

fn given(base: &Table, column: &Column) -> Given {
    let filled = base.syncs.values().find(|sync| sync.fills.contains(&column.name));
    match (&column.default, &column.identity) {
        _ if filled.is_some_and(|sync| !sync.later) || column.generated.is_some() => Given::Other,
        (_, Some(_)) => Given::Fresh,
        (None, _) => Given::Null,
        (Some(default), _) if is_constant(default) => Given::Constant(default.clone()),
        (Some(default), _)
            if ["nextval(", "gen_random_uuid(", "uuid_generate_v4(", "uuidv7("]
                .iter()
                .any(|call| default.starts_with(call)) =>
        {
            Given::Fresh
        }
        (Some(_), _) => Given::Other,
    }
}

fn is_constant(default: &str) -> bool {
    let text = default.trim_start_matches('(');
    text.starts_with(|c: char| c == '\'' || c == '-' || c.is_ascii_digit()) || ["true", "false"].contains(&text)
}

struct UniqueKey<'t> {
    name: &'t str,
    columns: Vec<String>,
    /// Expressions and a condition.
    texts: Vec<&'t str>,
    nulls_not_distinct: bool,
    deferrable: Deferrable,
    /// Two values that differ do so to the key, too.
    sorts_plainly: bool,
}

fn unique_keys(table: &Table) -> impl Iterator<Item = UniqueKey<'_>> {
    let primary = table.primary_key.iter().map(|key| UniqueKey {
        name: key.name.as_deref().unwrap_or("primary key"),
        columns: key.columns.clone(),
        texts: Vec::new(),
        nulls_not_distinct: false,
        deferrable: key.deferrable,
        sorts_plainly: true,
    });
    let uniques = table.uniques.iter().map(|(name, key)| UniqueKey {
        name,
        columns: key.columns.clone(),
        texts: Vec::new(),
        nulls_not_distinct: key.nulls_not_distinct,
        deferrable: key.deferrable,
        sorts_plainly: true,
    });
    let indexes = table.indexes.iter().filter(|(_, index)| index.unique).map(|(name, index)| UniqueKey {
        name,
        columns: index.parts.iter().filter_map(|part| part.column.clone()).collect(),
        texts: index.parts.iter().filter_map(|part| part.expr.as_deref()).chain(index.predicate.as_deref()).collect(),
        nulls_not_distinct: index.nulls_not_distinct,
        deferrable: Deferrable::No,
        sorts_plainly: index.parts.iter().all(|part| part.collation.is_none() && part.opclass.is_none()),
    });
    primary.chain(uniques).chain(indexes)
}
