//! The bucket as it was before somebody wrote over it: of every object the first version.
//!
//! Who has the gateway's credentials can't delete a version, but he can put a newer one on top, or a delete mark. For a
//! recovery after that, this shows what was put first, whatever hides it.

use std::ops::Range;

use location::{Listed, Location, LocationError, Name, Object, Put, Refusal, Stats};

use crate::client::Failure;
use crate::key;
use crate::place::BucketLocation;
use crate::renew::Walk;
use crate::xml::Version;

/// A bucket's first versions, to read only. A read costs two requests, since the versions are listed first.
pub struct FirstVersions(BucketLocation);

impl BucketLocation {
    /// For a recovery: reads what was put first under each name.
    pub fn first_versions(self) -> FirstVersions {
        FirstVersions(self)
    }
}

impl FirstVersions {
    /// Stores list the newest version first.
    async fn first(&self, key: &str) -> Result<Option<Version>, Failure> {
        let mut walk = Walk::new(key.to_owned());
        let mut first = None;
        while let Some(page) = walk.page(&self.0.client).await? {
            // No key of ours begins another one, so this is one object's only.
            first = page.into_iter().rfind(|one| one.key == key && !one.is_marker).or(first);
        }
        Ok(first)
    }

    async fn read(&self, name: &Name, range: Option<Range<u64>>) -> Result<Option<Vec<u8>>, Failure> {
        let key = self.0.key(name);
        let Some(first) = self.first(&key).await? else { return Ok(None) };
        let body = self.0.read(&key, Some(&first.id), range).await?;
        // It was listed a moment ago, and it is locked.
        body.map(|body| Some(Vec::from(body)))
            .ok_or_else(|| Failure::Nonsense("a version that is listed is gone".into()))
    }
}

impl Location for FirstVersions {
    fn id(&self) -> &str {
        self.0.id()
    }

    fn put_if_absent(&self, _: &[Object<'_>]) -> Result<Vec<Put>, LocationError> {
        let why = "shows first versions, and takes nothing".to_owned();
        let reason = Refusal::Configuration { field: "mode", why };
        Err(LocationError::Refused { location: self.id().to_owned(), reason })
    }

    fn get(&self, name: &Name, range: Option<Range<u64>>) -> Result<Option<Vec<u8>>, LocationError> {
        self.0.network.wait(self.read(name, range)).map_err(|failure| self.0.error("getting", 0, &failure))
    }

    fn list(&self, after: Option<&Name>, limit: usize) -> Result<Vec<Listed>, LocationError> {
        let prefix = self.0.objects();
        let mut walk = match after {
            Some(after) => Walk::after(prefix.clone(), self.0.key(after)),
            None => Walk::new(prefix.clone()),
        };
        let mut out: Vec<Listed> = Vec::new();
        // One more than wanted: only the next name says that the last one's versions are over.
        while out.len() <= limit {
            let page = self.0.network.wait(walk.page(&self.0.client));
            let Some(page) = page.map_err(|failure| self.0.error("listing", 0, &failure))? else { break };
            for version in page.into_iter().filter(|one| !one.is_marker) {
                let Some(name) = version.key.strip_prefix(&prefix).and_then(key::decode) else { continue };
                match out.last_mut() {
                    Some(last) if last.name == name => last.len = version.len,
                    _ if after.is_some_and(|after| name <= *after) => {}
                    _ => out.push(Listed { name, len: version.len }),
                }
            }
        }
        out.truncate(limit);
        Ok(out)
    }

    fn stats(&self) -> Result<Stats, LocationError> {
        let (mut stats, mut after) = (Stats::default(), None);
        loop {
            let page = self.list(after.as_ref(), 1_000)?;
            for one in &page {
                stats.objects = stats.objects.saturating_add(1);
                stats.bytes = stats.bytes.saturating_add(one.len);
            }
            let Some(last) = page.last() else { return Ok(stats) };
            after = Some(last.name.clone());
        }
    }
}
