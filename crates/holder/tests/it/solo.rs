//! A centre of one holder: its officer, a person, a gateway, patients and a log, so that it can be asked everything.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bytes::Bytes;
use holder::wire::{self, *};
use holder::{Config, Identity, Keys, Node, Peer, Pin, Refused, Shards};
use keys::{
    Batch, Budgets, CustodianPackage, DataKey, Dealer, FIRST_EPOCH, HolderPublicKey, KeyRecord, LocalHolder, Officer,
    PersonKey, Proof, Prover, Speaks, Statement, new_identity,
};
use kit::format::Version;
use kit::{Id16, OsEntropy, Timestamp};
use ledger::{AddCheckpoint, Checkpoint, MemoryStore, NoteSigner, Tree, Vkey, leaf_hash};

use crate::support::{JOIN_CODE, VAULT, hex};

pub(crate) const PERSON: &str = "dr.a";
pub(crate) const STRANGER: Pin = Pin([8; 32]);

pub(crate) struct Solo {
    pub(crate) folder: PathBuf,
    pub(crate) gateway: Identity,
    pub(crate) key: HolderPublicKey,
    pub(crate) signer: Arc<Signer>,
    pub(crate) batch: Batch,
    officer: Officer,
    dealer: Dealer,
    log: Log,
    tree: Mutex<Tree<MemoryStore>>,
}

/// The person, who signs whatever is asked.
pub(crate) struct Signer(keys::Signer);

impl Prover for Signer {
    fn prove(&self, statement: &Statement<'_>) -> Option<Proof> {
        Some(self.0.sign(vault(), statement, &OsEntropy))
    }
}

struct Log(Ed25519KeyPair);

impl Log {
    fn vkey(&self) -> Vkey {
        Vkey::new("centre.example/log", self.0.public_key().as_ref().try_into().unwrap()).unwrap()
    }
}

impl NoteSigner for Log {
    fn name(&self) -> &str {
        "centre.example/log"
    }
    fn key_id(&self) -> u32 {
        self.vkey().key_id()
    }
    fn sign(&self, text: &[u8]) -> [u8; 64] {
        self.0.sign(text).as_ref().try_into().unwrap()
    }
}

fn vault() -> Id16 {
    VAULT.parse().unwrap()
}

pub(crate) fn patient(number: u64) -> Id16 {
    let mut id = [0x50; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    Id16(id)
}

impl Solo {
    /// Makes the holder in `dir/server`, and brings it the list of members. It isn't open.
    pub(crate) fn new(dir: &Path, budgets: Budgets) -> Self {
        let folder = dir.join("server");
        let gateway = Identity::init(&dir.join("gateway")).unwrap();
        let officer = Officer::from_seed(&[3; 32]).unwrap();
        let config = Config {
            vault: VAULT.into(),
            number: 1,
            listen: "127.0.0.1:0".parse().unwrap(),
            officer: hex(&officer.public()),
            gateways: vec![gateway.pin().to_string()],
            join_code: hex(&JOIN_CODE),
            key_epoch: keys::FIRST_EPOCH,
            keys: Keys { needed: 1, holders: 1 },
            shards: Shards { reserve_bytes: 0, ..Shards::default() },
            budgets,
        };
        config.save(&folder).unwrap();
        Node::init(&folder, &OsEntropy).unwrap();
        let key = LocalHolder::look(&folder.join("holder")).unwrap().remove(0);
        let (_, recipient) = new_identity();
        let (_, recovery) = CustodianPackage::establish(1, &[recipient], &OsEntropy).unwrap();
        let (dealer, batch) = Dealer::new(std::slice::from_ref(&key), &recovery, 1, FIRST_EPOCH, &OsEntropy).unwrap();
        let person = PersonKey::random(&OsEntropy).unwrap();
        let life = (Timestamp(0), Timestamp(i64::MAX / 4));
        let certificate = officer.enrol(vault(), PERSON, Speaks::Person, person.public(), life, &OsEntropy).unwrap();
        let log = Log(Ed25519KeyPair::from_seed_unchecked(&[4; 32]).unwrap());
        let tree = Mutex::new(Tree::empty(MemoryStore::default()).unwrap());
        let signer = Arc::new(Signer(keys::Signer::new(vec![certificate], person)));
        let solo = Self { folder, gateway, key, signer, batch, officer, dealer, log, tree };
        let node = Node::open(&solo.folder).unwrap();
        node.call(Peer::Stranger(STRANGER), wire::MEMBERS, solo.members(&node, 1).into()).unwrap();
        solo
    }

    pub(crate) fn members(&self, node: &Node, version: u64) -> Vec<u8> {
        self.members_with(node, version, &[])
    }

    /// Which says how keys are split.
    pub(crate) fn members_split(&self, node: &Node, version: u64, splits: &[(u8, u8)]) -> Vec<u8> {
        let splits = splits.iter().map(|&(needed, holders)| Split { needed, holders }).collect();
        Members { splits: Some(splits), ..self.list(node, version, &[]) }.sign(&self.officer)
    }

    /// With other servers, which aren't there.
    pub(crate) fn members_with(&self, node: &Node, version: u64, others: &[u8]) -> Vec<u8> {
        self.list(node, version, others).sign(&self.officer)
    }

    fn list(&self, node: &Node, version: u64, others: &[u8]) -> Members {
        let card = node.call(Peer::Stranger(STRANGER), wire::CARD, Bytes::new()).unwrap();
        let card = Card::open(&card, &JOIN_CODE).unwrap();
        let member =
            Member { number: 1, address: "127.0.0.1:1".into(), pin: card.pin, witness: card.witness, key: card.key };
        let other = |number: &u8| Member { number: *number, pin: Pin([*number; 32]), ..member.clone() };
        let servers = others.iter().map(other).chain([member.clone()]).collect();
        let (vault, log) = (vault(), self.log.vkey().to_string());
        let gateways = vec![self.gateway.pin()];
        Members { format: Version, vault, version, servers, gateways, ended: Vec::new(), log, splits: None }
    }

    pub(crate) fn peer(&self) -> Peer {
        Peer::Gateway(self.gateway.pin())
    }

    pub(crate) fn pin(&self) -> Pin {
        Identity::open(&self.folder).unwrap().pin()
    }

    pub(crate) fn ask(&self, node: &Node, path: &str, body: impl Into<Bytes>) -> Result<Bytes, Refused> {
        node.call(self.peer(), path, body.into())
    }

    pub(crate) fn put(&self, node: &Node, name: &str, body: &[u8]) -> Result<Bytes, Refused> {
        let head = put_head(&location::Name::new(name).unwrap(), body.len());
        self.ask(node, wire::PUT, [head, body.to_vec()].concat())
    }

    pub(crate) fn get(&self, node: &Node, name: &str) -> Result<Bytes, Refused> {
        self.ask(node, wire::GET, GetRequest { name: name.to_owned(), range: None }.to_bytes())
    }

    pub(crate) fn record(&self, number: u64) -> KeyRecord {
        self.dealer.deal(patient(number), &DataKey::random(&OsEntropy), &OsEntropy).unwrap()
    }

    /// A request with a proof of its own.
    pub(crate) fn opening(&self, number: u64, at: Timestamp) -> Bytes {
        let record = self.record(number);
        let (patient, commitment) = (record.subject, record.commitment);
        let statement = Statement { patient, commitment, person: PERSON, purpose: "treatment", at };
        OpenShare {
            version: Version,
            record: record.to_bytes().into(),
            batch: self.batch.to_bytes().into(),
            person: PERSON.into(),
            purpose: "treatment".into(),
            at,
            proof: self.signer.prove(&statement).map(|proof| proof.to_bytes().into()),
        }
        .to_bytes()
        .into()
    }

    pub(crate) fn open(&self, node: &Node, number: u64, at: Timestamp) -> Result<Bytes, Refused> {
        self.ask(node, wire::OPEN, self.opening(number, at))
    }

    pub(crate) fn refuse(&self, node: &Node, number: u64) -> Result<Bytes, Refused> {
        self.ask(node, wire::REFUSE, RefuseSubject { subject: patient(number) }.to_bytes())
    }

    /// The log's head of so many leaves, for a witness that has seen `old`.
    pub(crate) fn head(&self, old: u64, size: u64) -> Vec<u8> {
        let mut tree = self.tree.lock().unwrap();
        let more: Vec<_> = (tree.size()..size).map(|leaf| leaf_hash(&leaf.to_be_bytes())).collect();
        tree.append_all(&more).unwrap();
        let origin = "centre.example/log".to_owned();
        let checkpoint = Checkpoint { origin, size, root: tree.root_at(size).unwrap() }.sign(&self.log).unwrap();
        let proof = tree.prove_consistency(old, size).unwrap();
        AddCheckpoint { old_size: old, proof, checkpoint }.to_bytes()
    }

    pub(crate) fn cosign(&self, node: &Node, old: u64, size: u64) -> Result<Bytes, Refused> {
        self.ask(node, wire::ADD_CHECKPOINT, self.head(old, size))
    }

    pub(crate) fn status(&self, node: &Node) -> Status {
        Status::from_bytes(&self.ask(node, wire::STATUS, Bytes::new()).unwrap()).unwrap()
    }

    pub(crate) fn journal(&self) -> String {
        std::fs::read_to_string(self.folder.join("journal.log")).unwrap()
    }
}

/// Status and code of a refusal.
pub(crate) fn code<T: std::fmt::Debug>(answer: Result<T, Refused>) -> (u16, String) {
    let refused = answer.unwrap_err();
    (refused.status, refused.refusal.code)
}

/// The daemon as a process; it goes with the test.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(folder: &Path, listen: &str) -> Self {
        let process = Command::new(env!("CARGO_BIN_EXE_holdfast-holder"))
            .args(["run", "--listen", listen, "--dir"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(process.unwrap())
    }

    /// kill -9, and nothing of it is left.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
