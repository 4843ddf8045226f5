//! What a service tells while it starts and lives: numbers and spans.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::ThreadId,
    time::Duration,
};

use schemadiff::{
    Lockstep,
    lockstep::{
        Contract, Labels, Metrics, NoProgress,
        admin::{ApplyOptions, apply},
        metric_names,
    },
    model::Dialect,
};
use schemadiff_tests::{
    engine::TestDatabase,
    lockstep::{SECOND, first, migrations, new_code, old_code, second},
};
use tracing::{
    Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::Interest,
};

/// Keeps everything, under the name and the labels' names.
#[derive(Default)]
struct Kept(Mutex<BTreeMap<String, Vec<f64>>>);

impl Kept {
    fn keep(&self, name: &str, value: f64, labels: Labels<'_>) {
        let labels: Vec<&str> = labels.iter().map(|(label, _)| *label).collect();
        let key = format!("{name} {}", labels.join(","));
        self.0.lock().unwrap().entry(key).or_default().push(value);
    }

    fn values(&self, key: &str) -> Vec<f64> {
        self.0.lock().unwrap().get(key).cloned().unwrap_or_default()
    }
}

impl Metrics for Kept {
    fn count(&self, name: &'static str, by: u64, labels: Labels<'_>) {
        self.keep(name, by as f64, labels);
    }
    fn gauge(&self, name: &'static str, value: f64, labels: Labels<'_>) {
        self.keep(name, value, labels);
    }
    fn seconds(&self, name: &'static str, seconds: f64, labels: Labels<'_>) {
        self.keep(name, seconds, labels);
    }
}

#[test]
fn the_numbers_are_documented() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/lockstep.md")).unwrap();
    let told: BTreeSet<&str> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `schemadiff_")?.split_once('`').map(|(name, _)| name))
        .collect();
    let known: BTreeSet<&str> = metric_names::ALL.iter().filter_map(|name| name.strip_prefix("schemadiff_")).collect();
    assert_eq!(told, known);
}

#[tokio::test]
async fn a_service_tells_its_numbers() {
    for dialect in [Dialect::Postgres, Dialect::Sqlite] {
        let db = TestDatabase::new(dialect);
        let (one, two) =
            (migrations(dialect, &[first(dialect)]), migrations(dialect, &[first(dialect), second(dialect)]));
        apply(&db.url, &one, &ApplyOptions::default(), Arc::new(NoProgress)).await.unwrap();
        db.execute("INSERT INTO users (id, fullname) VALUES (1, 'One'), (2, 'Two')").await;
        let start = |all, code| {
            let builder = Lockstep::builder("shop", all).database_url(&db.url).schema(code);
            builder.heartbeat(Duration::from_millis(30)).contract_poll(Duration::from_millis(30))
        };
        let old = start(one, old_code(dialect)).contract(Contract::Manual).start().await.unwrap();
        let kept = Arc::new(Kept::default());
        let new = start(two, new_code(dialect)).metrics(Arc::clone(&kept) as Arc<dyn Metrics>).start().await.unwrap();
        while kept.values("schemadiff_gate_holders migration,step").is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        old.shutdown().await;
        while kept.values("schemadiff_gate_wait_seconds migration,step").is_empty()
            || kept.values("schemadiff_steps_total migration,step,phase").len() < 4
            || kept.values("schemadiff_heartbeats_total result").is_empty()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        new.shutdown().await;
        assert_eq!(kept.values("schemadiff_steps_total migration,step,phase"), [1.0; 4], "{dialect}");
        assert_eq!(kept.values("schemadiff_step_seconds migration,step,phase").len(), 4, "{dialect}");
        assert_eq!(kept.values("schemadiff_gate_holders migration,step"), [1.0, 0.0], "{dialect}");
        assert_eq!(kept.values("schemadiff_backfill_rows migration,step").last(), Some(&2.0), "{dialect}");
        assert_eq!(kept.values("schemadiff_versions_retired_total app,version"), [1.0], "{dialect}");
        assert!(!kept.values("schemadiff_heartbeats_total result").is_empty(), "{dialect}");
        let all = kept.0.lock().unwrap();
        assert!(all.keys().all(|key| metric_names::ALL.contains(&key.split(' ').next().unwrap())), "{all:?}");
    }
}

/// Remembers each span of one thread with its parent.
struct Spans {
    thread: ThreadId,
    next: AtomicU64,
    made: Mutex<Vec<(u64, Option<u64>, String)>>,
    current: Mutex<Vec<u64>>,
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!(" {}={value:?}", field.name()));
    }
}

impl Subscriber for Spans {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes() // other tests come by the same places
    }
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        std::thread::current().id() == self.thread && metadata.target() == "schemadiff" && metadata.is_span()
    }
    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let id = self.next.fetch_add(1, Ordering::SeqCst) + 1;
        let current = self.current.lock().unwrap().last().copied();
        let parent = attributes.parent().map(span::Id::into_u64).or(current.filter(|_| attributes.is_contextual()));
        let mut fields = Fields(attributes.metadata().name().to_owned());
        attributes.record(&mut fields);
        self.made.lock().unwrap().push((id, parent, fields.0));
        span::Id::from_u64(id)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, id: &span::Id) {
        self.current.lock().unwrap().push(id.into_u64());
    }
    fn exit(&self, id: &span::Id) {
        let mut current = self.current.lock().unwrap();
        if let Some(at) = current.iter().rposition(|other| *other == id.into_u64()) {
            current.remove(at);
        }
    }
}

#[test]
fn work_stands_in_spans() {
    let db = TestDatabase::new(Dialect::Postgres);
    let plans = [first(Dialect::Postgres), second(Dialect::Postgres)];
    let spans = Arc::new(Spans {
        thread: std::thread::current().id(),
        next: AtomicU64::new(0),
        made: Mutex::default(),
        current: Mutex::default(),
    });
    tracing::subscriber::set_global_default(Arc::clone(&spans)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let all = migrations(Dialect::Postgres, &plans);
    runtime.block_on(apply(&db.url, &all, &ApplyOptions::default(), Arc::new(NoProgress))).unwrap();
    let made = spans.made.lock().unwrap();
    let of = |name: &str| made.iter().filter(move |(_, _, text)| text.starts_with(name)).collect::<Vec<_>>();
    assert_eq!((of("migration").len(), of("step").len(), of("backfill").len()), (2, 5, 1), "{made:#?}");
    let parent = |of: &(u64, Option<u64>, String)| made.iter().find(|(id, ..)| Some(*id) == of.1).map(|m| m.2.clone());
    let second = of("step").into_iter().filter(|step| parent(step).is_some_and(|p| p.contains(SECOND))).count();
    assert_eq!(second, 4, "{made:#?}");
    assert!(parent(of("backfill")[0]).is_some_and(|p| p.contains("02-backfill-users-email_key")), "{made:#?}");
}
