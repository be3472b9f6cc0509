//! The DICOM port: what honest modalities send, and what no modality sends.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use dicom_dictionary_std::uids;
use dicom_ul::ClientAssociationOptions;
use dicom_ul::association::Error;
use dicom_ul::association::client::ClientAssociation;
use dicom_ul::pdu::{
    AssociationRJ, AssociationRJServiceProviderPresentationReason as Presentation,
    AssociationRJServiceUserReason as User, AssociationRJSource, PDataValue, PDataValueType, Pdu,
};
use edge::dimse::{Instance, Outcome, Peer, Reject, Server, Service, Settings, StepCall, Store, status};
use guard::{Caller, Decision, DecisionLog, Event, EventLog, Guard};
use kit::{Fault, OsEntropy, SystemClock};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use treatment::Kind;

const INSTANCE: &str = "1.2.826.0.1.3680043.8.498.1";
const SYNTAXES: [&str; 2] = [uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN];

struct NoLog;

impl DecisionLog for NoLog {
    fn note(&self, _: &Decision) -> Result<(), Fault> {
        Ok(())
    }
}

impl EventLog for NoLog {
    fn keep(&self, _: &Event) -> Result<(), Fault> {
        Ok(())
    }
}

/// Keeps everything in memory; some SOP Instance UIDs make it do something else.
struct Memory {
    guard: Guard,
    kept: Mutex<Vec<Instance>>,
    /// Bytes of data sets whose command was wrong.
    refused: Mutex<Vec<usize>>,
    /// A slow store waits here, twice.
    slow: Barrier,
}

impl Memory {
    fn new() -> Arc<Self> {
        let peers = vec![guard::Peer::new("MODALITY", "127.0.0.0/8").unwrap()];
        let log = Arc::new(NoLog);
        let guard =
            Guard::new("test".into(), Arc::new(SystemClock), Arc::new(OsEntropy), log.clone(), log, peers).unwrap();
        Arc::new(Self { guard, kept: Mutex::default(), refused: Mutex::default(), slow: Barrier::new(2) })
    }

    fn count(&self) -> usize {
        self.kept.lock().unwrap().len()
    }
}

impl Store for Memory {
    fn admit(&self, calling: &str, address: IpAddr, _: Service) -> Result<Caller, Reject> {
        self.guard.device(calling, address).map_err(|_| Reject::CallingTitleNotRecognized)
    }

    fn store(&self, peer: &Peer, instance: Instance) -> Outcome {
        assert_eq!(peer.caller.subject(), "ae:MODALITY");
        let outcome = match instance.sop_instance.as_str() {
            "1.6" => {
                Outcome::refused(status::DATA_SET_DOES_NOT_MATCH, "a plan\\ of \u{928}\u{93e}\u{92e} a\n".repeat(9))
            }
            "1.66" => panic!("a defect in the rooms below"),
            "1.5" => {
                self.slow.wait();
                self.slow.wait();
                Outcome::stored()
            }
            _ => Outcome::stored(),
        };
        self.kept.lock().unwrap().push(instance);
        outcome
    }

    fn step(&self, _: &Peer, call: StepCall<'_>) -> (Outcome, Option<Vec<u8>>) {
        (Outcome::stored(), Some(call.data_set.repeat(3)))
    }

    fn refused(&self, _: &Peer, _: Service, data_set: &[u8], _: &str) {
        self.refused.lock().unwrap().push(data_set.len());
    }
}

fn start(settings: Settings) -> (Server, Arc<Memory>) {
    let memory = Memory::new();
    (Server::start("127.0.0.1:0".parse().unwrap(), settings, memory.clone()).unwrap(), memory)
}

/// Settings under which nobody waits long.
fn hasty() -> Settings {
    Settings {
        request_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(500),
        pdu_timeout: Duration::from_millis(300),
        message_timeout: Duration::from_millis(1_500),
        stop_timeout: Duration::from_millis(500),
        ..Settings::default()
    }
}

// ---- An honest modality

fn options<'a>(called: &'a str, classes: &[&'a str]) -> ClientAssociationOptions<'a> {
    let start = ClientAssociationOptions::new().calling_ae_title("MODALITY").called_ae_title(called);
    classes.iter().fold(start.read_timeout(Duration::from_secs(20)), |options, class| {
        options.with_presentation_context(*class, SYNTAXES.to_vec())
    })
}

type Modality = ClientAssociation<TcpStream>;

fn associate(server: &Server, called: &str, classes: &[&str]) -> Modality {
    options(called, classes).establish(server.address()).unwrap()
}

fn element(number: u16, value: &[u8]) -> Vec<u8> {
    let mut out = [0, 0].to_vec();
    out.extend(number.to_le_bytes());
    out.extend(u32::try_from(value.len().next_multiple_of(2)).unwrap().to_le_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(2), 0);
    out
}

/// A command set with its group length.
fn command(elements: &[(u16, &[u8])]) -> Vec<u8> {
    let body: Vec<u8> = elements.iter().flat_map(|(number, value)| element(*number, value)).collect();
    [element(0, &u32::try_from(body.len()).unwrap().to_le_bytes()), body].concat()
}

fn c_store(sop_class: &str, sop_instance: &str) -> Vec<u8> {
    let (class, instance) = (sop_class.as_bytes(), sop_instance.as_bytes());
    command(&[(2, class), (0x100, &[1, 0]), (0x110, &[9, 0]), (0x700, &[0, 0]), (0x800, &[0, 0]), (0x1000, instance)])
}

fn c_echo() -> Vec<u8> {
    command(&[(2, uids::VERIFICATION.as_bytes()), (0x100, &[0x30, 0]), (0x110, &[3, 0]), (0x800, &[1, 1])])
}

fn value(context: u8, value_type: PDataValueType, is_last: bool, data: &[u8]) -> PDataValue {
    PDataValue { presentation_context_id: context, value_type, is_last, data: data.to_vec() }
}

fn commanded(context: u8, data: &[u8]) -> PDataValue {
    value(context, PDataValueType::Command, true, data)
}

/// One response: its elements by number.
fn response(modality: &mut Modality) -> std::collections::BTreeMap<u16, Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let Pdu::PData { data } = modality.receive().unwrap() else { panic!("no P-DATA-TF") };
        let last = data.iter().any(|v| v.is_last);
        assert!(data.iter().all(|v| v.value_type == PDataValueType::Command));
        data.into_iter().for_each(|v| bytes.extend(v.data));
        if last {
            break;
        }
    }
    let (mut out, mut rest) = (std::collections::BTreeMap::new(), &bytes[..]);
    while !rest.is_empty() {
        let number = u16::from_le_bytes([rest[2], rest[3]]);
        let length = u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
        out.insert(number, rest[8..8 + length].to_vec());
        rest = &rest[8 + length..];
    }
    out
}

fn status_of(modality: &mut Modality) -> u16 {
    u16::from_le_bytes(response(modality)[&0x900].clone().try_into().unwrap())
}

/// Stores one object on presentation context `context`, the data set in fragments of `size`.
fn store(modality: &mut Modality, context: u8, class: &str, instance: &str, data_set: &[u8], size: usize) -> u16 {
    modality.send(&Pdu::PData { data: vec![commanded(context, &c_store(class, instance))] }).unwrap();
    let chunks: Vec<_> = data_set.chunks(size).collect();
    for (n, chunk) in chunks.iter().enumerate() {
        let last = n + 1 == chunks.len();
        modality.send(&Pdu::PData { data: vec![value(context, PDataValueType::Data, last, chunk)] }).unwrap();
    }
    status_of(modality)
}

/// That an honest modality is served, whatever was thrown at the server before.
fn still_well(server: &Server) {
    let mut modality = associate(server, "HOLDFAST", &[uids::VERIFICATION]);
    modality.send(&Pdu::PData { data: vec![commanded(1, &c_echo())] }).unwrap();
    assert_eq!(status_of(&mut modality), status::SUCCESS);
    modality.release().unwrap();
}

#[test]
fn echoes_and_stores_every_class_under_every_title() {
    let (server, memory) = start(Settings::default());
    let classes: Vec<&str> = Kind::ALL.iter().map(|kind| kind.sop_class()).collect();
    for called in ["HOLDFAST", "ANY-SCP"] {
        let mut modality = associate(&server, called, &classes);
        assert_eq!(modality.presentation_contexts().len(), Kind::ALL.len(), "all are accepted");
        for (n, class) in classes.iter().enumerate() {
            let context = u8::try_from(2 * n + 1).unwrap();
            assert_eq!(store(&mut modality, context, class, &format!("1.2.{n}"), b"data", 100), status::SUCCESS);
        }
        modality.release().unwrap();
    }
    assert_eq!(memory.count(), 2 * Kind::ALL.len());
    {
        let kept = memory.kept.lock().unwrap();
        let first = &kept[0];
        assert_eq!((first.service, first.sop_class.as_str()), (Service::Archive, uids::CT_IMAGE_STORAGE));
        assert_eq!((first.sop_instance.as_str(), first.message_id), ("1.2.0", 9));
        assert_eq!((first.transfer_syntax, &first.data_set[..]), (uids::EXPLICIT_VR_LITTLE_ENDIAN, &b"data"[..]));
    }
    still_well(&server);
}

#[test]
fn the_gate_takes_what_a_fraction_is_asked_with() {
    let (server, memory) = start(Settings::default());
    let classes = [
        uids::CT_IMAGE_STORAGE,
        uids::RT_PLAN_STORAGE,
        uids::RT_ION_PLAN_STORAGE,
        uids::VERIFICATION,
        uids::RT_BEAMS_DELIVERY_INSTRUCTION_STORAGE,
        uids::UNIFIED_PROCEDURE_STEP_PUSH,
        uids::UNIFIED_PROCEDURE_STEP_WATCH,
        uids::UNIFIED_PROCEDURE_STEP_PULL,
    ];
    let accepted = |title: &str| -> Vec<u8> {
        let modality = associate(&server, title, &classes);
        let accepted = modality.presentation_contexts().iter().map(|c| c.id).collect();
        modality.release().unwrap();
        accepted
    };
    assert_eq!(accepted("GATE"), [3, 5, 7, 9, 11, 13]);
    assert_eq!(accepted("HOLDFAST"), [1, 3, 5, 7, 9], "the archive knows no procedure steps");
    let mut modality = associate(&server, "GATE", &classes);
    assert_eq!(store(&mut modality, 3, uids::RT_PLAN_STORAGE, INSTANCE, b"plan", 100), status::SUCCESS);
    assert_eq!(memory.kept.lock().unwrap()[0].service, Service::Gate);
    modality.release().unwrap();
}

#[test]
fn negotiates_what_it_serves_and_declines_the_rest() {
    let (server, _) = start(Settings::default());
    let modality = ClientAssociationOptions::new()
        .calling_ae_title("MODALITY")
        .called_ae_title("HOLDFAST")
        .with_presentation_context(uids::RT_PLAN_STORAGE, vec![uids::IMPLICIT_VR_LITTLE_ENDIAN])
        .with_presentation_context(uids::RT_DOSE_STORAGE, vec![uids::JPEG_BASELINE8_BIT])
        .with_presentation_context(uids::MODALITY_WORKLIST_INFORMATION_MODEL_FIND, SYNTAXES.to_vec())
        .with_presentation_context(uids::CT_IMAGE_STORAGE, vec![SYNTAXES[1], SYNTAXES[0]])
        .establish(server.address())
        .unwrap();
    let accepted: Vec<_> =
        modality.presentation_contexts().iter().map(|c| (c.id, c.transfer_syntax.as_str())).collect();
    assert_eq!(accepted, [(1, uids::IMPLICIT_VR_LITTLE_ENDIAN), (7, uids::EXPLICIT_VR_LITTLE_ENDIAN)]);
    modality.release().unwrap();
}

#[test]
fn fragments_come_together_however_they_are_cut() {
    let (server, memory) = start(Settings::default());
    let large: Vec<u8> = (0..5_000_000u32).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect();
    let class = uids::RT_DOSE_STORAGE;
    let mut modality = associate(&server, "HOLDFAST", &[class]);
    for size in [16_378, 16_000, 262_138] {
        assert_eq!(store(&mut modality, 1, class, INSTANCE, &large, size), status::SUCCESS);
        assert!(memory.kept.lock().unwrap().last().unwrap().data_set == large, "fragments of {size}");
    }
    // The command byte by byte, and the data set in values of one byte and of none, all in one PDU.
    let mut data: Vec<PDataValue> =
        c_store(class, INSTANCE).iter().map(|byte| value(1, PDataValueType::Command, false, &[*byte])).collect();
    data.push(commanded(1, &[]));
    data.extend(b"in pieces".iter().flat_map(|byte| {
        [value(1, PDataValueType::Data, false, &[*byte]), value(1, PDataValueType::Data, false, &[])]
    }));
    data.push(value(1, PDataValueType::Data, true, &[]));
    modality.send(&Pdu::PData { data }).unwrap();
    assert_eq!(status_of(&mut modality), status::SUCCESS);
    assert_eq!(memory.kept.lock().unwrap().last().unwrap().data_set, b"in pieces");
    modality.release().unwrap();
}

#[test]
fn the_answer_comes_after_the_store_and_carries_its_reason() {
    let (server, memory) = start(Settings::default());
    let class = uids::RT_PLAN_STORAGE;
    // The smallest PDU that dicom-ul agrees to: the answer comes in fragments where it has to.
    let mut modality = options("HOLDFAST", &[class]).max_pdu_length(1_018).establish(server.address()).unwrap();
    modality
        .send(&Pdu::PData {
            data: vec![commanded(1, &c_store(class, "1.6")), value(1, PDataValueType::Data, true, b"x")],
        })
        .unwrap();
    let answer = response(&mut modality);
    assert_eq!(answer[&0x900], status::DATA_SET_DOES_NOT_MATCH.to_le_bytes());
    assert_eq!(
        (&answer[&0x100][..], &answer[&0x120][..], &answer[&0x800][..]),
        (&[1, 0x80][..], &[9, 0][..], &[1, 1][..])
    );
    let comment = String::from_utf8(answer[&0x902].clone()).unwrap();
    assert!(comment.len() <= 64 && comment.starts_with("a plan of  aa plan of  a"), "{comment:?}");
    assert!(answer[&0x1000].starts_with(b"1.6"));

    // A peer that takes PDUs of 128 bytes gets it in two.
    let tiny = [request(&[1], 128), p_data(1, 3, &c_store(class, "1.6")), p_data(1, 2, b"x"), pdu(5, &[0; 4])];
    assert_eq!(say(server.address(), &tiny).0, [ACCEPTED, 4, 4, RELEASED]);

    // No answer before the store has returned.
    modality
        .send(&Pdu::PData {
            data: vec![commanded(1, &c_store(class, "1.5")), value(1, PDataValueType::Data, true, b"x")],
        })
        .unwrap();
    memory.slow.wait();
    modality.inner_stream().set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let early = modality.inner_stream().peek(&mut [0]).unwrap_err();
    assert!(matches!(early.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{early}");
    modality.inner_stream().set_read_timeout(None).unwrap();
    memory.slow.wait();
    assert_eq!(status_of(&mut modality), status::SUCCESS);
    modality.release().unwrap();
}

#[test]
fn a_wrong_command_is_answered_and_the_association_lives() {
    let (server, memory) = start(Settings::default());
    let mut modality = associate(&server, "HOLDFAST", &[uids::CT_IMAGE_STORAGE, uids::VERIFICATION]);
    let plan = uids::RT_PLAN_STORAGE;
    assert_eq!(store(&mut modality, 1, plan, INSTANCE, b"x", 9), status::SOP_CLASS_NOT_SUPPORTED);
    assert_eq!(store(&mut modality, 3, uids::VERIFICATION, INSTANCE, b"x", 9), status::SOP_CLASS_NOT_SUPPORTED);
    assert_eq!(store(&mut modality, 1, uids::CT_IMAGE_STORAGE, "no uid", b"xy", 9), status::INVALID_SOP_INSTANCE);
    // What they hold may matter all the same: a treatment record that is refused holds her gate.
    assert_eq!(*memory.refused.lock().unwrap(), [1, 1, 2]);
    let (class, instance) = (uids::CT_IMAGE_STORAGE.as_bytes(), INSTANCE.as_bytes());
    let bare = command(&[(2, class), (0x100, &[1, 0]), (0x110, &[1, 0]), (0x800, &[1, 1]), (0x1000, instance)]);
    modality.send(&Pdu::PData { data: vec![commanded(1, &bare)] }).unwrap();
    assert_eq!(status_of(&mut modality), status::CANNOT_UNDERSTAND);
    let find = command(&[(2, class), (0x100, &[0x20, 0]), (0x110, &[1, 0]), (0x800, &[0, 0])]);
    modality
        .send(&Pdu::PData { data: vec![commanded(1, &find), value(1, PDataValueType::Data, true, b"query")] })
        .unwrap();
    assert_eq!(status_of(&mut modality), status::UNRECOGNIZED_OPERATION);
    let cancel = command(&[(0x100, &[0xff, 0x0f]), (0x120, &[1, 0]), (0x800, &[1, 1])]);
    modality.send(&Pdu::PData { data: vec![commanded(1, &cancel)] }).unwrap();
    assert_eq!(memory.count(), 0);
    assert_eq!(store(&mut modality, 1, uids::CT_IMAGE_STORAGE, INSTANCE, b"x", 9), status::SUCCESS);
    modality.release().unwrap();
}

#[test]
fn an_object_past_the_bound_is_refused_and_the_next_is_taken() {
    let settings = Settings { object_bytes_max: 1_000_000, bytes_in_flight_max: 1_500_000, ..Settings::default() };
    let (server, memory) = start(settings);
    let class = uids::CT_IMAGE_STORAGE;
    let mut modality = associate(&server, "HOLDFAST", &[class]);
    let mut other = associate(&server, "HOLDFAST", &[class]);
    assert_eq!(store(&mut modality, 1, class, INSTANCE, &[1; 1_000_001], 100_000), status::OUT_OF_RESOURCES);
    assert_eq!(store(&mut modality, 1, class, INSTANCE, &[1; 1_000_000], 100_000), status::SUCCESS);

    // One object under way holds its share; a second one finds no room, and does once the first is done.
    let part = |last| Pdu::PData { data: vec![value(1, PDataValueType::Data, last, &[1; 100_000])] };
    modality.send(&Pdu::PData { data: vec![commanded(1, &c_store(class, INSTANCE))] }).unwrap();
    (0..9).for_each(|_| modality.send(&part(false)).unwrap());
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(store(&mut other, 1, class, INSTANCE, &[1; 900_000], 100_000), status::OUT_OF_RESOURCES);
    modality.send(&part(true)).unwrap();
    assert_eq!(status_of(&mut modality), status::SUCCESS);
    assert_eq!(store(&mut other, 1, class, INSTANCE, &[1; 900_000], 100_000), status::SUCCESS);
    assert_eq!(memory.count(), 3);
}

// ---- Who is turned away

fn rejected(options: ClientAssociationOptions<'_>, server: &Server) -> AssociationRJSource {
    match options.establish(server.address()) {
        Err(Error::Rejected { association_rj: AssociationRJ { source, .. }, .. }) => source,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn strangers_and_strange_titles_are_rejected() {
    let (server, _) = start(Settings::default());
    let classes = [uids::VERIFICATION];
    for called in ["NOBODY", "holdfast", "HOLDFAST2"] {
        assert_eq!(
            rejected(options(called, &classes), &server),
            AssociationRJSource::ServiceUser(User::CalledAETitleNotRecognized)
        );
    }
    let stranger = options("HOLDFAST", &classes).calling_ae_title("STRANGER");
    assert_eq!(rejected(stranger, &server), AssociationRJSource::ServiceUser(User::CallingAETitleNotRecognized));
    still_well(&server);
}

#[test]
fn associations_are_bounded() {
    let (server, _) = start(Settings { associations_max: 3, ..Settings::default() });
    let classes = [uids::VERIFICATION];
    let open: Vec<Modality> = (0..3).map(|_| associate(&server, "HOLDFAST", &classes)).collect();
    assert_eq!(server.associations(), 3);
    let limit = AssociationRJSource::ServiceProviderPresentation(Presentation::LocalLimitExceeded);
    assert_eq!(rejected(options("HOLDFAST", &classes), &server), limit);
    open.into_iter().for_each(|modality| modality.release().unwrap());
    until(|| server.associations() == 0);
    still_well(&server);
}

#[test]
fn one_machine_does_not_take_the_places_of_all() {
    let (server, _) = start(Settings { associations_max: 3, peer_associations_max: 2, ..Settings::default() });
    let classes = [uids::VERIFICATION];
    let _open: Vec<Modality> = (0..2).map(|_| associate(&server, "HOLDFAST", &classes)).collect();
    let limit = AssociationRJSource::ServiceProviderPresentation(Presentation::LocalLimitExceeded);
    assert_eq!(rejected(options("HOLDFAST", &classes), &server), limit);
}

#[test]
fn a_crowd_that_says_nothing_keeps_nobody_out() {
    let (server, _) = start(Settings { silent_max: 10, ..Settings::default() });
    let crowd: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    still_well(&server);
    drop(crowd);
    still_well(&server);
}

fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "waited 10 s in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

// ---- Bytes that no modality sends

fn pdu(kind: u8, body: &[u8]) -> Vec<u8> {
    announced(kind, u32::try_from(body.len()).unwrap(), body)
}

fn announced(kind: u8, length: u32, body: &[u8]) -> Vec<u8> {
    [&[kind, 0], &length.to_be_bytes()[..], body].concat()
}

fn item(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 0], &u16::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
}

/// An A-ASSOCIATE-RQ for RT Plan Storage on these contexts.
fn request(contexts: &[u8], pdu_max: u32) -> Vec<u8> {
    let mut body = [&[0, 1, 0, 0], &b"HOLDFAST        MODALITY        "[..], &[0; 32]].concat();
    body.extend(item(0x10, b"1.2.840.10008.3.1.1.1"));
    for id in contexts {
        let syntaxes = [item(0x30, uids::RT_PLAN_STORAGE.as_bytes()), item(0x40, SYNTAXES[0].as_bytes())].concat();
        body.extend(item(0x20, &[&[*id, 0, 0, 0], &syntaxes[..]].concat()));
    }
    body.extend(item(0x50, &item(0x51, &pdu_max.to_be_bytes())));
    pdu(1, &body)
}

/// One P-DATA-TF with one value; flags: 1 command, 2 last.
fn p_data(context: u8, flags: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len() + 2).unwrap().to_be_bytes();
    pdu(4, &[&length[..], &[context, flags], data].concat())
}

/// Says all that, and gives the types of the PDUs that come back before the connection ends, and how long that took.
fn say(address: SocketAddr, messages: &[Vec<u8>]) -> (Vec<u8>, Duration) {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    for message in messages {
        // The other side may have hung up already.
        let _ = stream.write_all(message);
    }
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(e) => panic!("the connection stays open: {e}"),
    }
    let (mut kinds, mut rest) = (Vec::new(), &answer[..]);
    while let [kind, _, a, b, c, d, after @ ..] = rest {
        kinds.push(*kind);
        rest = after.get(u32::from_be_bytes([*a, *b, *c, *d]) as usize..).unwrap_or_default();
    }
    (kinds, began.elapsed())
}

const ACCEPTED: u8 = 2;
const RELEASED: u8 = 6;
const ABORTED: u8 = 7;

#[test]
fn garbage_ends_its_own_association_and_no_other() {
    let (server, memory) = start(Settings::default());
    let mut honest = associate(&server, "HOLDFAST", &[uids::RT_PLAN_STORAGE]);
    let (rq, plan) = (request(&[1], 16_384), uids::RT_PLAN_STORAGE);
    let store = c_store(plan, INSTANCE);

    // Before an association.
    for (name, message) in [
        ("noise", vec![0; 1_000]),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("TLS", b"\x16\x03\x01\x02\x00\x01".to_vec()),
        ("ones", vec![0xff; 100_000]),
        ("a request of 4 GiB", announced(1, u32::MAX, &[])),
        ("a request of nothing", pdu(1, &[])),
        ("a request of zeroes", pdu(1, &[0; 100])),
        ("data", p_data(1, 3, &c_echo())),
        ("a release", pdu(5, &[0; 4])),
        ("an even context", request(&[2], 16_384)),
        ("a context twice", request(&[1, 1], 16_384)),
        ("PDUs of one byte", request(&[1], 1)),
    ] {
        assert_eq!(say(server.address(), &[message]).0, [ABORTED], "{name}");
    }
    // Within one.
    for (name, message) in [
        ("a second request", rq.clone()),
        ("an acceptance", pdu(2, &[0; 68])),
        ("a release nobody asked for", pdu(6, &[0; 4])),
        ("a PDU of type 8", pdu(8, &[0; 4])),
        ("4 GiB of data", announced(4, u32::MAX, &[])),
        ("a value longer than its PDU", pdu(4, &[0xff, 0xff, 0xff, 0xf0, 1, 2])),
        ("a value of nothing", pdu(4, &[0; 4])),
        ("a context that was not proposed", p_data(3, 3, &store)),
        ("data before a command", p_data(1, 2, &store)),
        ("an empty command", p_data(1, 3, &[])),
        ("a command cut off", p_data(1, 3, &store[..store.len() - 3])),
        ("a command of many", p_data(1, 3, &store.repeat(1_000))),
        ("a long command in pieces", [p_data(1, 1, &[0; 4_000]), p_data(1, 1, &[0; 4_000])].concat()),
        ("a command within a data set", [p_data(1, 3, &store), p_data(1, 3, &store)].concat()),
        ("a response", p_data(1, 3, &command(&[(0x100, &[1, 0x80]), (0x110, &[1, 0]), (0x800, &[1, 1])]))),
    ] {
        assert_eq!(say(server.address(), &[rq.clone(), message]).0, [ACCEPTED, ABORTED], "{name}");
    }
    // Two contexts mixed within one message.
    let mixed = [request(&[1, 3], 16_384), p_data(1, 3, &store), p_data(3, 2, b"x")];
    assert_eq!(say(server.address(), &mixed).0, [ACCEPTED, ABORTED]);
    // An abort, and an A-ABORT that does not parse, are the end without another word.
    assert_eq!(say(server.address(), &[rq.clone(), pdu(7, &[0; 4])]).0, [ACCEPTED]);

    assert_eq!(memory.count(), 0);
    assert_eq!(self::store(&mut honest, 1, plan, INSTANCE, b"plan", 9), status::SUCCESS);
    honest.release().unwrap();
    until(|| server.associations() == 0);
}

#[test]
fn a_torn_association_leaves_nothing_behind() {
    let (server, memory) = start(Settings { associations_max: 2, ..Settings::default() });
    for cut in [0, 3, 50, 200, 300, 500] {
        let whole =
            [request(&[1], 16_384), p_data(1, 3, &c_store(uids::RT_PLAN_STORAGE, INSTANCE)), p_data(1, 0, &[1; 200])]
                .concat();
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(&whole[..cut.min(whole.len())]).unwrap();
        drop(stream);
    }
    until(|| server.associations() == 0);
    assert_eq!(memory.count(), 0);
    still_well(&server);
}

#[test]
fn whoever_dawdles_is_cut_off() {
    let (server, _) = start(hasty());
    let address = server.address();
    let rq = request(&[1], 16_384);
    let begun = p_data(1, 3, &c_store(uids::RT_PLAN_STORAGE, INSTANCE));
    // Silent from the start, between messages, within a PDU, within a message.
    for (messages, answers) in [
        (vec![], vec![ABORTED]),
        (vec![rq.clone()], vec![ACCEPTED, ABORTED]),
        (vec![rq.clone(), announced(4, 1_000, &[0; 10])], vec![ACCEPTED, ABORTED]),
        (vec![rq.clone(), begun.clone()], vec![ACCEPTED, ABORTED]),
    ] {
        let (kinds, took) = say(address, &messages);
        assert_eq!(kinds, answers);
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    // A byte now and then, each in time for the read before it: the request, and a PDU; a fragment now and then.
    let slowly = |messages: Vec<Vec<u8>>, first: &[u8]| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(first).unwrap();
        let began = Instant::now();
        for message in messages {
            if stream.write_all(&message).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
            assert!(began.elapsed() < Duration::from_secs(6), "a slow peer is still served");
        }
        let took = began.elapsed();
        assert!(took < Duration::from_secs(6), "{took:?}");
    };
    let byte_by_byte = |bytes: &[u8]| bytes.iter().map(|b| vec![*b]).collect::<Vec<_>>();
    slowly(byte_by_byte(&rq), &[]);
    slowly(byte_by_byte(&p_data(1, 3, &c_echo())), &rq);
    slowly(vec![p_data(1, 0, &[0; 10]); 100], &[rq, begun].concat());
    still_well(&server);
    until(|| server.associations() == 0);
}

#[test]
fn a_defect_below_costs_one_association() {
    let (server, memory) = start(Settings::default());
    let class = uids::RT_PLAN_STORAGE;
    let mut modality = associate(&server, "HOLDFAST", &[class]);
    modality
        .send(&Pdu::PData {
            data: vec![commanded(1, &c_store(class, "1.66")), value(1, PDataValueType::Data, true, b"x")],
        })
        .unwrap();
    assert!(modality.receive().is_err(), "no success for what was not kept");
    until(|| server.associations() == 0);
    assert_eq!(memory.count(), 0);
    still_well(&server);
}

#[test]
fn stopping_ends_the_idle_and_lets_what_is_under_way_finish() {
    let (server, memory) = start(Settings::default());
    let address = server.address();
    let class = uids::RT_PLAN_STORAGE;
    let mut idle = associate(&server, "HOLDFAST", &[class]);
    let mut busy = associate(&server, "HOLDFAST", &[class]);
    busy.send(&Pdu::PData {
        data: vec![commanded(1, &c_store(class, "1.5")), value(1, PDataValueType::Data, true, b"x")],
    })
    .unwrap();
    memory.slow.wait();
    let stopping = std::thread::spawn(move || server.stop());
    assert!(matches!(idle.receive(), Ok(Pdu::AbortRQ { .. })));
    memory.slow.wait();
    assert_eq!(status_of(&mut busy), status::SUCCESS);
    stopping.join().unwrap();
    assert_eq!(memory.count(), 1);
    assert!(TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err(), "the port is closed");
}

#[test]
fn stopping_cuts_off_what_takes_too_long() {
    let (server, _) = start(Settings { stop_timeout: Duration::from_millis(300), ..Settings::default() });
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let begun = [request(&[1], 16_384), p_data(1, 3, &c_store(uids::RT_PLAN_STORAGE, INSTANCE))].concat();
    stream.write_all(&begun).unwrap();
    until(|| server.associations() == 1);
    let began = Instant::now();
    server.stop();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

/// Damages an honest conversation anywhere: it may end, the server may not, and nothing is stored but what was sent.
#[test]
fn a_damaged_conversation_hurts_nobody() {
    let (server, memory) = start(hasty());
    let data_set = [0xAB; 300];
    let whole = [
        request(&[1], 16_384),
        p_data(1, 3, &c_store(uids::RT_PLAN_STORAGE, INSTANCE)),
        p_data(1, 0, &data_set[..100]),
        p_data(1, 2, &data_set[100..]),
        pdu(5, &[0; 4]),
    ]
    .concat();
    let strategy = (any::<prop::sample::Index>(), 1u8.., any::<bool>());
    TestRunner::new(Config::with_cases(60))
        .run(&strategy, |(at, flip, cut)| {
            let (mut bytes, at) = (whole.clone(), at.index(whole.len()));
            bytes[at] ^= flip;
            if cut {
                bytes.truncate(at);
            }
            say(server.address(), &[bytes]);
            Ok(())
        })
        .unwrap();
    still_well(&server);
    for instance in memory.kept.lock().unwrap().iter() {
        assert!(instance.data_set.len() <= 300);
    }
}
