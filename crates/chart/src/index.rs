//! The index: a projection of the ledger in SQLite, rebuilt from the vault whenever it is missing, old or doubted.
//! It holds opaque ids, keyed hashes and entry numbers; no plaintext and no key. An attacker who rewrites it gains
//! nothing that lasts: what it points to is verified when it is opened.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kit::{Blame, Digest, Explain, PatientId, Timestamp};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use sha2::{Digest as _, Sha256};

use crate::meta::{Meta, Tag};
use crate::trace;

/// Raised when the tables change; another version is thrown away and rebuilt.
const SCHEMA: i64 = 2;

/// Records under one tag that one step of a search looks at: some milliseconds.
const WALK_MAX: usize = 2_000;

/// Records under a tag are counted up to here, to find out which group is the rarest.
const COUNT_MAX: i64 = 1_000;

/// How many records a step walks by, and the last of them.
const WALK: &str = "SELECT count(*), max(record) FROM
    (SELECT record FROM posting WHERE tag = ?1 AND record > ?2 ORDER BY record LIMIT ?3)";

#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("the index failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the index could not be put away at {place}: {source}")]
    Io { place: String, source: std::io::Error },
}

impl Explain for IndexError {
    fn blame(&self) -> Blame {
        Blame::Configuration
    }

    fn code(&self) -> &'static str {
        "chart.index"
    }

    fn guidance(&self) -> Option<&'static str> {
        Some("the index is only a projection: stop the server, remove gateway/index.sqlite*, start again")
    }
}

type Result<T> = std::result::Result<T, IndexError>;

/// Where the current version of a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    pub row: i64,
    pub entry: u64,
    pub version: u32,
    pub deleted: bool,
    pub patient: Option<PatientId>,
    pub updated: Timestamp,
}

/// What `apply` needs of a ledger entry.
pub struct Applied<'a> {
    pub entry: u64,
    pub patient: Option<PatientId>,
    pub time: Timestamp,
    pub meta: &'a Meta,
}

/// One step of a search.
#[derive(Debug)]
pub struct Scanned {
    pub found: Vec<Located>,
    /// The row after which the next step begins; none where there is nothing more.
    pub next: Option<i64>,
}

/// Takes entries in, one after the other.
pub type Feed<'a> = &'a mut dyn FnMut(Applied<'_>) -> Result<()>;

pub struct Index {
    connection: Mutex<Connection>,
    vault: Vec<u8>,
    /// None in memory.
    file: Option<PathBuf>,
}

impl Index {
    /// Opens the index of vault `vault_id` in `file`, or makes an empty one: also where it belongs to another
    /// vault, has another schema, or is no database at all.
    pub fn open(file: &Path, vault_id: &[u8]) -> Result<Self> {
        match Self::try_open(file, vault_id) {
            Ok(Some(index)) => Ok(index),
            Ok(None) | Err(_) => {
                remove(file)?;
                Ok(Self::new(create(Connection::open(file)?, vault_id)?, vault_id, Some(file.to_owned())))
            }
        }
    }

    /// Whether what stands in `file` is a database all through; also where nothing does.
    pub fn file_is_sound(file: &Path) -> bool {
        !file.exists() || Connection::open(file).is_ok_and(|connection| is_sound(&connection))
    }

    /// Takes it away: the next opening makes it anew.
    pub fn forget(file: &Path) -> Result<()> {
        remove(file)
    }

    fn new(connection: Connection, vault_id: &[u8], file: Option<PathBuf>) -> Self {
        Self { connection: Mutex::new(connection), vault: vault_id.to_vec(), file }
    }

    /// Whether it is a database all through. What its rows say is another question.
    pub fn is_sound(&self) -> bool {
        is_sound(&self.lock())
    }

    /// An empty one in its place.
    pub fn make_anew(&self) -> Result<()> {
        let mut connection = self.lock();
        *connection = Connection::open_in_memory()?;
        let fresh = match &self.file {
            Some(file) => {
                remove(file)?;
                Connection::open(file)?
            }
            None => Connection::open_in_memory()?,
        };
        *connection = create(fresh, &self.vault)?;
        Ok(())
    }

    /// An index in memory, for tests and for reading a recovered centre.
    pub fn in_memory(vault_id: &[u8]) -> Result<Self> {
        Ok(Self::new(create(Connection::open_in_memory()?, vault_id)?, vault_id, None))
    }

    fn try_open(file: &Path, vault_id: &[u8]) -> Result<Option<Self>> {
        if !file.exists() {
            return Ok(None);
        }
        let connection = Connection::open(file)?;
        settings(&connection)?;
        let parts: i64 = connection.query_row(
            "SELECT count(*) FROM sqlite_schema WHERE name IN
                 ('head', 'record', 'record_patient', 'version', 'posting', 'posting_record', 'listed')",
            [],
            |row| row.get(0),
        )?;
        if parts != 7 {
            return Ok(None);
        }
        let found: Option<(i64, Vec<u8>)> = connection
            .query_row("SELECT schema, vault FROM head", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let ours = found == Some((SCHEMA, vault_id.to_vec()));
        Ok(ours.then(|| Self::new(connection, vault_id, Some(file.to_owned()))))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of the first entry that isn't applied yet.
    pub fn applied(&self) -> Result<u64> {
        Ok(self.lock().query_row("SELECT applied FROM head", [], |row| row.get::<_, i64>(0))?.cast_unsigned())
    }

    /// Applies entries in ledger order, all or nothing; `feed` calls the given function for each, and returns the
    /// number of the first entry that it did not feed.
    pub fn apply<E: From<IndexError>>(
        &self,
        feed: impl FnOnce(u64, Feed<'_>) -> std::result::Result<u64, E>,
    ) -> std::result::Result<u64, E> {
        self.change(false, feed)
    }

    /// As [`Self::apply`], from the first entry on, in place of all that stood there.
    pub fn rebuild<E: From<IndexError>>(
        &self,
        feed: impl FnOnce(u64, Feed<'_>) -> std::result::Result<u64, E>,
    ) -> std::result::Result<u64, E> {
        self.change(true, feed)
    }

    fn change<E: From<IndexError>>(
        &self,
        anew: bool,
        feed: impl FnOnce(u64, Feed<'_>) -> std::result::Result<u64, E>,
    ) -> std::result::Result<u64, E> {
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(IndexError::from)?;
        if anew {
            let emptied = "DELETE FROM record; DELETE FROM version; DELETE FROM posting; DELETE FROM listed;
                           UPDATE head SET applied = 0;";
            transaction.execute_batch(emptied).map_err(IndexError::from)?;
        }
        let from: i64 =
            transaction.query_row("SELECT applied FROM head", [], |row| row.get(0)).map_err(IndexError::from)?;
        let next = feed(from.cast_unsigned(), &mut |applied| apply_one(&transaction, &applied))?;
        if next.cast_signed() != from {
            transaction.execute("UPDATE head SET applied = ?1", [next.cast_signed()]).map_err(IndexError::from)?;
        }
        transaction.commit().map_err(IndexError::from)?;
        Ok(next)
    }

    /// How far it is, and a digest of every row: two indexes of one ledger that are as far have the same.
    pub fn content(&self) -> Result<(u64, Digest)> {
        let connection = self.lock();
        let mut hasher = Sha256::new();
        for (table, order) in [
            ("head", "vault"),
            ("record", "row"),
            ("version", "record, version"),
            ("posting", "tag, record"),
            ("listed", "tag, entry"),
        ] {
            hasher.update(table);
            let mut statement = connection.prepare(&format!("SELECT * FROM {table} ORDER BY {order}"))?;
            let columns = statement.column_count();
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                for column in 0..columns {
                    // Length or kind first, so that no two rows read alike.
                    match row.get_ref(column)? {
                        ValueRef::Integer(number) => {
                            hasher.update([1]);
                            hasher.update(number.to_be_bytes());
                        }
                        ValueRef::Null => hasher.update([0]),
                        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => {
                            hasher.update([2]);
                            hasher.update((bytes.len() as u64).to_be_bytes());
                            hasher.update(bytes);
                        }
                        ValueRef::Real(number) => {
                            hasher.update([3]);
                            hasher.update(number.to_be_bytes());
                        }
                    }
                }
            }
        }
        let applied: i64 = connection.query_row("SELECT applied FROM head", [], |row| row.get(0))?;
        Ok((applied.cast_unsigned(), Digest(hasher.finalize().into())))
    }

    /// The current version of the record with this key.
    pub fn locate(&self, key: &Tag) -> Result<Option<Located>> {
        let connection = self.lock();
        let mut statement = connection
            .prepare_cached("SELECT row, entry, version, deleted, patient, updated FROM record WHERE key = ?1")?;
        let found = statement.query_row([key.as_bytes()], located).optional()?;
        Ok(found.inspect(Located::traced))
    }

    /// The entry that holds `version` of a record.
    pub fn entry_of_version(&self, record: i64, version: u32) -> Result<Option<u64>> {
        let connection = self.lock();
        let mut statement =
            connection.prepare_cached("SELECT entry FROM version WHERE record = ?1 AND version = ?2")?;
        let found = statement.query_row(params![record, version], |row| row.get::<_, i64>(0)).optional()?;
        Ok(found.map(i64::cast_unsigned).inspect(|entry| trace::saw_entries(&[*entry])))
    }

    /// Entries of the versions of a record that are older than `before`, newest first.
    pub fn history(&self, record: i64, before: u32, limit: usize) -> Result<Vec<u64>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT entry FROM version WHERE record = ?1 AND version < ?2 ORDER BY version DESC LIMIT ?3",
        )?;
        entries(statement.query_map(params![record, before, limit.cast_signed()], |row| row.get::<_, i64>(0))?)
    }

    /// Keys of a patient's living records, so many at most.
    pub fn living(&self, patient: PatientId, limit: usize) -> Result<Vec<Tag>> {
        let connection = self.lock();
        let mut statement =
            connection.prepare_cached("SELECT key FROM record WHERE patient = ?1 AND deleted = 0 LIMIT ?2")?;
        let rows = statement.query_map(params![patient.0, limit.cast_signed()], |row| row.get::<_, Vec<u8>>(0))?;
        Ok(rows.map(|key| Ok(Tag(key?.into()))).collect::<rusqlite::Result<_>>()?)
    }

    /// Newest entries of a patient's living records under a tag, oldest record first, so many at most.
    pub fn living_under(&self, patient: PatientId, tag: &Tag, limit: usize) -> Result<Vec<u64>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT record.entry FROM record JOIN posting ON posting.record = record.row
             WHERE record.patient = ?1 AND record.deleted = 0 AND posting.tag = ?2 ORDER BY record.row LIMIT ?3",
        )?;
        let values = params![patient.0, tag.as_bytes(), limit.cast_signed()];
        entries(statement.query_map(values, |row| row.get::<_, i64>(0))?)
    }

    /// Living records that stand under at least one tag of every group, after row `after`, oldest first.
    pub fn search(&self, groups: &[Vec<Tag>], after: i64, limit: usize) -> Result<Vec<Located>> {
        let (mut found, mut after) = (Vec::new(), after);
        loop {
            let scanned = self.scan(groups, after, limit.saturating_sub(found.len()))?;
            found.extend(scanned.found);
            match scanned.next {
                Some(next) if found.len() < limit => after = next,
                _ => return Ok(found),
            }
        }
    }

    /// One step of a search: a bounded walk along the rarest group, so that neither the size of the centre nor a common
    /// name makes others wait.
    pub fn scan(&self, groups: &[Vec<Tag>], after: i64, limit: usize) -> Result<Scanned> {
        let connection = self.lock();
        let Some(leading) = rarest(&connection, groups)? else {
            return Ok(Scanned { found: Vec::new(), next: None });
        };
        let (lead, others): (Vec<_>, Vec<_>) = groups.iter().enumerate().partition(|(number, _)| *number == leading);
        let others: Vec<&Vec<Tag>> = others.into_iter().map(|(_, group)| group).collect();
        let sql = scan_sql(&others);
        let mut statement = connection.prepare_cached(&sql)?;
        let mut walk = connection.prepare_cached(WALK)?;
        let (mut found, mut reached) = (Vec::new(), None);
        for tag in lead.into_iter().flat_map(|(_, group)| group) {
            let (walked, last): (usize, Option<i64>) = walk
                .query_row(params![tag.as_bytes(), after, WALK_MAX.cast_signed()], |row| {
                    Ok((row.get::<_, i64>(0)?.cast_unsigned().try_into().unwrap_or(WALK_MAX), row.get(1)?))
                })?;
            let end = last.filter(|_| walked == WALK_MAX);
            let bytes: Vec<&[u8]> = others.iter().flat_map(|group| group.iter().map(Tag::as_bytes)).collect();
            let tag = tag.as_bytes();
            let (most, limit) = (WALK_MAX.cast_signed(), limit.cast_signed());
            let mut values: Vec<&dyn rusqlite::ToSql> = vec![&tag, &after, &most];
            values.extend(bytes.iter().map(|tag| tag as &dyn rusqlite::ToSql));
            values.push(&limit);
            let rows = statement.query_map(values.as_slice(), located)?;
            found.extend(rows.collect::<rusqlite::Result<Vec<_>>>()?);
            reached = match (reached, end) {
                (Some(known), Some(end)) => Some(std::cmp::min::<i64>(known, end)),
                (known, end) => known.or(end),
            };
        }
        found.sort_by_key(|record: &Located| record.row);
        found.dedup_by_key(|record| record.row);
        // Beyond the shortest walk, something of its tag may be missing.
        found.retain(|record| reached.is_none_or(|reached| record.row <= reached));
        found.iter().for_each(Located::traced);
        let full = found.len() >= limit;
        found.truncate(limit);
        let next = if full { found.last().map(|last| last.row) } else { reached };
        Ok(Scanned { found, next })
    }

    /// Entries on a list that are older than entry `before`, newest first.
    pub fn listed_back(&self, list: &Tag, before: u64, limit: usize) -> Result<Vec<u64>> {
        let connection = self.lock();
        let mut statement = connection
            .prepare_cached("SELECT entry FROM listed WHERE tag = ?1 AND entry < ?2 ORDER BY entry DESC LIMIT ?3")?;
        let before = i64::try_from(before).unwrap_or(i64::MAX);
        let values = params![list.as_bytes(), before, limit.cast_signed()];
        entries(statement.query_map(values, |row| row.get::<_, i64>(0))?)
    }

    /// Entries on a list from entry `from` on, oldest first.
    pub fn listed(&self, list: &Tag, from: u64, limit: usize) -> Result<Vec<u64>> {
        let connection = self.lock();
        let mut statement = connection
            .prepare_cached("SELECT entry FROM listed WHERE tag = ?1 AND entry >= ?2 ORDER BY entry LIMIT ?3")?;
        let values = params![list.as_bytes(), from.cast_signed(), limit.cast_signed()];
        entries(statement.query_map(values, |row| row.get::<_, i64>(0))?)
    }
}

impl Located {
    fn traced(&self) {
        trace::saw(self.entry, self.patient);
    }
}

/// What a query has found, traced.
fn entries(rows: impl Iterator<Item = rusqlite::Result<i64>>) -> Result<Vec<u64>> {
    let found: Vec<u64> = rows.map(|entry| Ok(entry?.cast_unsigned())).collect::<rusqlite::Result<_>>()?;
    trace::saw_entries(&found);
    Ok(found)
}

/// The group that the fewest records stand under, as far as they are counted.
fn rarest(connection: &Connection, groups: &[Vec<Tag>]) -> Result<Option<usize>> {
    if groups.len() < 2 {
        return Ok((!groups.is_empty()).then_some(0));
    }
    let mut best = None;
    for (number, group) in groups.iter().enumerate() {
        let marks = vec!["?"; group.len()].join(",");
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM posting WHERE tag IN ({marks}) LIMIT {COUNT_MAX})");
        let values = rusqlite::params_from_iter(group.iter().map(Tag::as_bytes));
        let count: i64 = connection.prepare_cached(&sql)?.query_row(values, |row| row.get(0))?;
        if best.is_none_or(|(least, _)| count < least) {
            best = Some((count, number));
        }
    }
    Ok(best.map(|(_, number)| number))
}

/// The records of one tag, a walk long, that stand under each of the other groups as well.
fn scan_sql(others: &[&Vec<Tag>]) -> String {
    let mut sql = String::from(
        "SELECT r.row, r.entry, r.version, r.deleted, r.patient, r.updated FROM
             (SELECT record FROM posting WHERE tag = ? AND record > ? ORDER BY record LIMIT ?) AS walk
             CROSS JOIN record AS r ON r.row = walk.record
         WHERE r.deleted = 0",
    );
    for group in others {
        let marks = vec!["?"; group.len()].join(",");
        sql.push_str(&format!(
            " AND EXISTS (SELECT 1 FROM posting AS p WHERE p.record = walk.record AND p.tag IN ({marks}))"
        ));
    }
    // The walk is in order already.
    sql.push_str(" ORDER BY walk.record LIMIT ?");
    sql
}

fn located(row: &rusqlite::Row<'_>) -> rusqlite::Result<Located> {
    Ok(Located {
        row: row.get(0)?,
        entry: row.get::<_, i64>(1)?.cast_unsigned(),
        version: row.get(2)?,
        deleted: row.get(3)?,
        patient: row.get::<_, Option<[u8; 16]>>(4)?.map(PatientId),
        updated: Timestamp(row.get(5)?),
    })
}

fn is_sound(connection: &Connection) -> bool {
    let answer = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    answer.is_ok_and(|answer| answer == "ok")
}

fn remove(file: &Path) -> Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(&name) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(IndexError::Io { place: "gateway/index.sqlite".into(), source });
            }
            _ => {}
        }
    }
    Ok(())
}

fn settings(connection: &Connection) -> Result<()> {
    // Losing the last transactions in a crash is harmless: they are applied again from the ledger. Tags are as good as
    // random, so each row of a new index goes to another page: with the usual 2 MB in memory most of them are read.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA trusted_schema = OFF;
         PRAGMA temp_store = MEMORY; PRAGMA cache_size = -131072;",
    )?;
    Ok(())
}

fn create(connection: Connection, vault_id: &[u8]) -> Result<Connection> {
    settings(&connection)?;
    connection.execute_batch(
        "CREATE TABLE head (schema INTEGER NOT NULL, vault BLOB NOT NULL, applied INTEGER NOT NULL);
         CREATE TABLE record (
             row INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, patient BLOB,
             version INTEGER NOT NULL, entry INTEGER NOT NULL, deleted INTEGER NOT NULL, updated INTEGER NOT NULL);
         CREATE INDEX record_patient ON record (patient) WHERE deleted = 0;
         CREATE TABLE version (
             record INTEGER NOT NULL, version INTEGER NOT NULL, entry INTEGER NOT NULL,
             PRIMARY KEY (record, version)) WITHOUT ROWID;
         CREATE TABLE posting (
             tag BLOB NOT NULL, record INTEGER NOT NULL, PRIMARY KEY (tag, record)) WITHOUT ROWID;
         CREATE INDEX posting_record ON posting (record);
         CREATE TABLE listed (tag BLOB NOT NULL, entry INTEGER NOT NULL, PRIMARY KEY (tag, entry)) WITHOUT ROWID;",
    )?;
    connection.execute("INSERT INTO head VALUES (?1, ?2, 0)", params![SCHEMA, vault_id])?;
    Ok(connection)
}

fn apply_one(transaction: &Transaction<'_>, applied: &Applied<'_>) -> Result<()> {
    let entry = applied.entry.cast_signed();
    for list in &applied.meta.lists {
        transaction
            .prepare_cached("INSERT OR IGNORE INTO listed VALUES (?1, ?2)")?
            .execute(params![list.as_bytes(), entry])?;
    }
    let Some(version) = &applied.meta.version else { return Ok(()) };
    let row: i64 = transaction
        .prepare_cached(
            "INSERT INTO record (key, patient, version, entry, deleted, updated) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (key) DO UPDATE SET version = ?3, entry = ?4, deleted = ?5, updated = ?6 RETURNING row",
        )?
        .query_row(
            params![
                version.key.as_bytes(),
                applied.patient.map(|p| p.0),
                version.version,
                entry,
                version.deleted,
                applied.time.0
            ],
            |row| row.get(0),
        )?;
    transaction.prepare_cached("INSERT OR REPLACE INTO version VALUES (?1, ?2, ?3)")?.execute(params![
        row,
        version.version,
        entry
    ])?;
    transaction.prepare_cached("DELETE FROM posting WHERE record = ?1")?.execute([row])?;
    for tag in &applied.meta.tags {
        transaction
            .prepare_cached("INSERT OR IGNORE INTO posting VALUES (?1, ?2)")?
            .execute(params![tag.as_bytes(), row])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::{Tagger, Version};

    fn meta(tagger: &Tagger, id: &str, version: u32, tags: &[&str]) -> Meta {
        let mut meta = Meta::new(Some(Version {
            key: tagger.full(&[b"Patient", id.as_bytes()]),
            collection: "Patient".into(),
            id: id.into(),
            version,
            deleted: false,
            content: None,
        }));
        meta.tags = tags.iter().map(|t| tagger.fuzzy(&[t.as_bytes()])).collect();
        meta.lists = vec![tagger.full(&[b"all"])];
        meta
    }

    fn feed(index: &Index, metas: &[Meta]) -> u64 {
        index
            .apply::<IndexError>(|from, apply| {
                let mut next = from;
                for meta in metas {
                    apply(Applied { entry: next, patient: Some(PatientId([7; 16])), time: Timestamp(5), meta })?;
                    next += 1;
                }
                Ok(next)
            })
            .unwrap()
    }

    #[test]
    fn an_update_moves_the_record_to_its_new_tags() {
        let index = Index::in_memory(b"vault").unwrap();
        let tagger = Tagger::new(&[3; 32]);
        assert_eq!(feed(&index, &[meta(&tagger, "a", 1, &["x"]), meta(&tagger, "b", 1, &["x", "y"])]), 2);
        let x = vec![vec![tagger.fuzzy(&[b"x"])]];
        assert_eq!(index.search(&x, 0, 10).unwrap().len(), 2);
        assert_eq!(index.search(&[x[0].clone(), vec![tagger.fuzzy(&[b"y"])]], 0, 10).unwrap().len(), 1);
        feed(&index, &[meta(&tagger, "a", 2, &["z"])]);
        assert_eq!(index.search(&x, 0, 10).unwrap().len(), 1);
        let a = index.locate(&tagger.full(&[b"Patient", b"a"])).unwrap().unwrap();
        assert_eq!((a.version, a.entry), (2, 2));
        assert_eq!(index.history(a.row, u32::MAX, 10).unwrap(), [2, 0]);
        assert_eq!(index.entry_of_version(a.row, 1).unwrap(), Some(0));
        let all = tagger.full(&[b"all"]);
        assert_eq!(index.listed(&all, 1, 10).unwrap(), [1, 2]);
        assert_eq!(index.listed_back(&all, u64::MAX, 2).unwrap(), [2, 1]);
        assert_eq!(index.listed_back(&all, 1, 2).unwrap(), [0]);
        assert_eq!(index.applied().unwrap(), 3);
    }

    /// The database's own plan: how much it costs doesn't depend on how many records there are.
    #[test]
    fn a_search_walks_along_its_rarest_tag_and_looks_up_the_others() {
        let index = Index::in_memory(b"vault").unwrap();
        let tagger = Tagger::new(&[3; 32]);
        let many: Vec<Meta> =
            (0..WALK_MAX + 10).map(|n| meta(&tagger, &n.to_string(), 1, &["type", "common"])).collect();
        feed(&index, &many);
        feed(&index, &[meta(&tagger, "rare", 1, &["type", "common", "rare"])]);
        let group = |name: &str| vec![tagger.fuzzy(&[name.as_bytes()])];
        let (kind, common, rare) = (group("type"), group("common"), group("rare"));
        assert_eq!(rarest(&index.lock(), &[kind.clone(), common.clone(), rare.clone()]).unwrap(), Some(2));

        let plan_of = |sql: &str| -> Vec<String> {
            let connection = index.lock();
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            for number in 1..=statement.parameter_count() {
                statement.raw_bind_parameter(number, 1).unwrap();
            }
            let mut rows = statement.raw_query();
            let mut steps = Vec::new();
            while let Some(row) = rows.next().unwrap() {
                steps.push(row.get::<_, String>(3).unwrap());
            }
            steps
        };
        let plan = plan_of(&scan_sql(&[&kind, &common]));
        assert!(plan.iter().any(|step| step.contains("PRIMARY KEY (tag=? AND record>?)")), "{plan:#?}");
        for costly in ["LIST SUBQUERY", "TEMP B-TREE", "SCAN posting", "SCAN r", "SCAN p"] {
            assert!(!plan.iter().any(|step| step.contains(costly)), "{costly}: {plan:#?}");
        }
        let plan = plan_of("SELECT key FROM record WHERE patient = ?1 AND deleted = 0 LIMIT ?2");
        assert!(plan.iter().any(|step| step.contains("record_patient")), "{plan:#?}");

        // A walk ends where it may, and the next one goes on there: all are found, each once.
        let none = tagger.fuzzy(&[b"rare"]);
        let step = index.scan(&[vec![common[0].clone(), none], kind.clone()], 0, 10_000).unwrap();
        assert_eq!((step.found.len(), step.next), (WALK_MAX, Some(i64::try_from(WALK_MAX).unwrap())));
        assert_eq!(index.search(&[kind, common.clone()], 0, 10_000).unwrap().len(), WALK_MAX + 11);
        assert_eq!(index.search(&[common, rare], 0, 10_000).unwrap().len(), 1);
    }

    #[test]
    fn a_changed_row_changes_the_content_and_a_rebuild_mends_it() {
        let index = Index::in_memory(b"vault").unwrap();
        let tagger = Tagger::new(&[3; 32]);
        let metas = [meta(&tagger, "a", 1, &["x"]), meta(&tagger, "b", 1, &["x", "y"]), meta(&tagger, "a", 2, &["z"])];
        feed(&index, &metas);
        let sound = index.content().unwrap();
        assert_eq!(sound.0, 3);
        for change in [
            "UPDATE record SET entry = 0 WHERE row = 1",
            "UPDATE record SET patient = NULL WHERE row = 2",
            "DELETE FROM listed WHERE entry = 2",
            "DELETE FROM posting WHERE record = 2",
            "UPDATE version SET entry = 1 WHERE entry = 0",
            "UPDATE head SET applied = 9",
        ] {
            index.lock().execute(change, []).unwrap();
            assert_ne!(index.content().unwrap(), sound, "{change}");
            let again = |from: u64, apply: Feed<'_>| -> Result<u64> {
                for (entry, meta) in (from..).zip(&metas) {
                    apply(Applied { entry, patient: Some(PatientId([7; 16])), time: Timestamp(5), meta })?;
                }
                Ok(3)
            };
            index.rebuild(again).unwrap();
            assert_eq!(index.content().unwrap(), sound, "{change}");
        }
    }

    #[test]
    fn another_vaults_index_and_garbage_are_thrown_away() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("index.sqlite");
        let tagger = Tagger::new(&[3; 32]);
        feed(&Index::open(&file, b"one").unwrap(), &[meta(&tagger, "a", 1, &["x"])]);
        assert_eq!(Index::open(&file, b"one").unwrap().applied().unwrap(), 1);
        assert_eq!(Index::open(&file, b"two").unwrap().applied().unwrap(), 0);
        std::fs::write(&file, b"no database at all").unwrap();
        assert_eq!(Index::open(&file, b"two").unwrap().applied().unwrap(), 0);
    }
}
