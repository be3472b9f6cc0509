//! Who the synthetic patients are: names, numbers, diagnoses that are nobody's.
//!
//! **Names** are strung together by lot from tables of syllables, three or more a name, in four scripts, with a
//! romanised form; no list of real names was used. The syllables are chosen to be rare beside each other, so that a
//! likeness with a living person is chance. **Phones** are +91 0…: 0 is India's trunk prefix, so no national number
//! begins with it (ITU-T E.164; National Numbering Plan 2003). **Hospital numbers** begin with SYN.

use kit::Timestamp;

use super::phantom::Site;
use super::rng::Rng;

/// The script a name is written in; FHIR's language tag goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Script {
    #[default]
    Latin,
    Malayalam,
    Devanagari,
    Tamil,
}

impl Script {
    /// BCP 47 tag of the language that the patient is written to in.
    pub fn language(self) -> &'static str {
        match self {
            Self::Latin => "en",
            Self::Malayalam => "ml",
            Self::Devanagari => "hi",
            Self::Tamil => "ta",
        }
    }

    fn syllables(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Latin => LATIN,
            Self::Malayalam => MALAYALAM,
            Self::Devanagari => DEVANAGARI,
            Self::Tamil => TAMIL,
        }
    }
}

type Syllables = &'static [(&'static str, &'static str)];

#[rustfmt::skip]
const LATIN: Syllables = &[
    ("zor", "zor"), ("vimb", "vimb"), ("quen", "quen"), ("brel", "brel"), ("nux", "nux"), ("ulk", "ulk"),
    ("pryth", "pryth"), ("wesh", "wesh"), ("drov", "drov"), ("fyn", "fyn"), ("glae", "glae"), ("jusk", "jusk"),
    ("toq", "toq"), ("hvar", "hvar"), ("szel", "szel"), ("oyd", "oyd"),
];
#[rustfmt::skip]
const MALAYALAM: Syllables = &[
    ("ഴൂ", "zhoo"), ("ഞെ", "nje"), ("വൗ", "vau"), ("റൊ", "ro"), ("ത്തി", "thi"), ("ബൂ", "boo"), ("ളേ", "le"),
    ("മ്പോ", "mpo"), ("കൈ", "kai"), ("ണ്ടെ", "nde"), ("ഫി", "phi"), ("ജൗ", "jau"), ("സോ", "so"), ("ടു", "tu"),
    ("യൈ", "yai"), ("ങ്ങൂ", "ngoo"),
];
#[rustfmt::skip]
const DEVANAGARI: Syllables = &[
    ("झू", "jhu"), ("ठै", "thai"), ("वौ", "vau"), ("णो", "no"), ("घे", "ghe"), ("फू", "phu"), ("ढी", "dhi"),
    ("भौ", "bhau"), ("ञा", "nya"), ("खै", "khai"), ("धू", "dhoo"), ("छो", "chho"), ("गौ", "gau"), ("टी", "tee"),
    ("षे", "she"), ("यू", "yu"),
];
#[rustfmt::skip]
const TAMIL: Syllables = &[
    ("ழூ", "zhu"), ("ஞொ", "njo"), ("வை", "vai"), ("றே", "re"), ("ணௌ", "nau"), ("டூ", "doo"), ("ளி", "li"),
    ("பொ", "po"), ("ஙா", "nga"), ("கூ", "koo"), ("மௌ", "mau"), ("சே", "se"), ("தை", "thai"), ("யொ", "yo"),
    ("நூ", "noo"), ("லை", "lai"),
];

/// One name, in the patient's script and romanised.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Name {
    pub script: Script,
    pub given: String,
    pub family: String,
    pub given_latin: String,
    pub family_latin: String,
}

/// Long enough that no eight bytes of ciphertext are taken for it (`check::plaintext`).
const NAME_LETTERS_MIN: usize = 9;

impl Name {
    pub(crate) fn draw(rng: &Rng) -> Self {
        let script =
            rng.pick(&[Script::Malayalam, Script::Malayalam, Script::Tamil, Script::Devanagari, Script::Latin]);
        let (given, given_latin) = word(rng, script);
        let (family, family_latin) = word(rng, script);
        Self { script, given, family, given_latin, family_latin }
    }

    /// As it is read out: given name first.
    pub fn text(&self) -> String {
        format!("{} {}", self.given, self.family)
    }

    pub fn text_latin(&self) -> String {
        format!("{} {}", self.given_latin, self.family_latin)
    }

    /// DICOM PN: alphabetic group, then the patient's own script (PS3.5 6.2.1).
    pub fn person_name(&self) -> String {
        let latin = format!("{}^{}", self.family_latin, self.given_latin);
        match self.script {
            Script::Latin => latin,
            _ => format!("{latin}={}^{}", self.family, self.given),
        }
    }
}

fn word(rng: &Rng, script: Script) -> (String, String) {
    let (mut own, mut latin, mut used) = (String::new(), String::new(), Vec::new());
    while used.len() < 3 || latin.len() < NAME_LETTERS_MIN {
        let (a, b) = rng.pick(script.syllables());
        // One that says a syllable twice is found by chance where another isn't.
        if !used.contains(&a) {
            own.push_str(a);
            latin.push_str(b);
            used.push(a);
        }
    }
    (if script == Script::Latin { capital(&own) } else { own }, capital(&latin))
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}

/// How the patient is irradiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Technique {
    /// Photons, static beams: field in field, wedge, bolus.
    #[default]
    Conformal,
    /// Photons, volumetric modulated arcs.
    Arc,
    /// Electrons with applicator, cut-out and bolus.
    Electron,
    /// Protons, scanned spots.
    Ion,
    /// Photons from standing gantries, several segments each (step and shoot).
    Imrt,
}

/// Of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Side {
    #[default]
    Left,
    Right,
}

/// ICD-10 (WHO, 2019) with its wording; SNOMED CT where the code is certain.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Diagnosis {
    pub icd10: &'static str,
    pub text: &'static str,
    pub snomed: Option<(&'static str, &'static str)>,
    pub(crate) technique: Technique,
    pub(crate) fractions: u32,
    pub(crate) dose_gy: f64,
    pub(crate) site: Site,
    /// What there are two of.
    pub(crate) paired: Option<&'static str>,
    /// Of those two.
    pub side: Option<Side>,
}

#[rustfmt::skip]
const DIAGNOSES: &[Diagnosis] = &[
    Diagnosis { icd10: "C50.4", text: "Malignant neoplasm: Upper-outer quadrant of breast", snomed: Some(("254837009", "Malignant neoplasm of breast")), technique: Technique::Conformal, fractions: 25, dose_gy: 50.0, site: Site::Breast, paired: Some("breast"), side: None },
    Diagnosis { icd10: "C61", text: "Malignant neoplasm of prostate", snomed: Some(("399068003", "Malignant tumor of prostate")), technique: Technique::Arc, fractions: 20, dose_gy: 60.0, site: Site::Prostate, paired: None, side: None },
    Diagnosis { icd10: "C34.1", text: "Malignant neoplasm: Upper lobe, bronchus or lung", snomed: Some(("363358000", "Malignant tumor of lung")), technique: Technique::Arc, fractions: 30, dose_gy: 60.0, site: Site::Lung, paired: Some("lung"), side: None },
    Diagnosis { icd10: "C53.9", text: "Malignant neoplasm: Cervix uteri, unspecified", snomed: Some(("363354003", "Malignant tumor of cervix")), technique: Technique::Conformal, fractions: 25, dose_gy: 45.0, site: Site::Cervix, paired: None, side: None },
    Diagnosis { icd10: "C15.4", text: "Malignant neoplasm: Middle third of oesophagus", snomed: Some(("363402007", "Malignant tumor of esophagus")), technique: Technique::Arc, fractions: 28, dose_gy: 50.4, site: Site::Oesophagus, paired: None, side: None },
    Diagnosis { icd10: "C02.1", text: "Malignant neoplasm: Border of tongue", snomed: None, technique: Technique::Arc, fractions: 33, dose_gy: 66.0, site: Site::Tongue, paired: Some("border of tongue"), side: None },
    Diagnosis { icd10: "C44.3", text: "Malignant neoplasm: Skin of other and unspecified parts of face", snomed: None, technique: Technique::Electron, fractions: 15, dose_gy: 45.0, site: Site::Face, paired: Some("cheek"), side: None },
    Diagnosis { icd10: "C71.1", text: "Malignant neoplasm: Frontal lobe", snomed: None, technique: Technique::Ion, fractions: 30, dose_gy: 54.0, site: Site::FrontalLobe, paired: Some("frontal lobe"), side: None },
    Diagnosis { icd10: "C20", text: "Malignant neoplasm of rectum", snomed: Some(("363351006", "Malignant tumor of rectum")), technique: Technique::Conformal, fractions: 25, dose_gy: 45.0, site: Site::Rectum, paired: None, side: None },
    Diagnosis { icd10: "C11.9", text: "Malignant neoplasm: Nasopharynx, unspecified", snomed: None, technique: Technique::Imrt, fractions: 33, dose_gy: 69.96, site: Site::Nasopharynx, paired: None, side: None },
    Diagnosis { icd10: "C21.0", text: "Malignant neoplasm: Anus, unspecified", snomed: None, technique: Technique::Imrt, fractions: 28, dose_gy: 50.4, site: Site::Anus, paired: None, side: None },
];

impl Diagnosis {
    pub(crate) fn draw(rng: &Rng) -> Self {
        rng.pick(DIAGNOSES).on_a_side(rng)
    }

    /// One that is treated with `technique`.
    pub(crate) fn draw_for(rng: &Rng, technique: Technique) -> Self {
        let fitting: Vec<Diagnosis> = DIAGNOSES.iter().filter(|d| d.technique == technique).copied().collect();
        rng.pick(&fitting).on_a_side(rng)
    }

    fn on_a_side(self, rng: &Rng) -> Self {
        Self { side: self.paired.map(|_| rng.pick(&[Side::Left, Side::Right])), ..self }
    }

    /// What of two is treated: `left breast`.
    pub fn body_site(&self) -> Option<String> {
        let side = if self.side? == Side::Left { "left" } else { "right" };
        Some(format!("{side} {}", self.paired?))
    }
}

/// Hospital number of patient `index`: eight digits that don't count up, yet never repeat below 10⁸ patients (the
/// factor is odd and no multiple of 5).
pub(crate) fn hospital_number(seed: u64, index: u64) -> String {
    let first = Rng::new(seed, "numbers", 0).below(NUMBERS);
    format!("SYN-{:08}", (index % NUMBERS * 48_271_337 + first) % NUMBERS)
}

const NUMBERS: u64 = 100_000_000;

pub(crate) fn phone(rng: &Rng) -> String {
    format!("+910{:09}", rng.below(1_000_000_000))
}

pub(crate) const DAY_MS: i64 = 86_400_000;

/// `days` after the day of `at`.
pub(crate) fn day(at: Timestamp, days: i64) -> Timestamp {
    Timestamp(at.0.div_euclid(DAY_MS) * DAY_MS).plus_ms(days * DAY_MS)
}

/// YYYY-MM-DD.
pub(crate) fn iso_date(at: Timestamp) -> String {
    let (year, month, day) = at.civil_date();
    format!("{year:04}-{month:02}-{day:02}")
}

/// YYYYMMDD, DICOM's DA.
pub(crate) fn da(at: Timestamp) -> String {
    iso_date(at).replace('-', "")
}

/// The `count` working days (Monday to Saturday) before the day of `today`, earliest first.
pub(crate) fn working_days_before(today: Timestamp, count: u32) -> Vec<Timestamp> {
    let mut days = Vec::new();
    let mut back = 0;
    while u32::try_from(days.len()).is_ok_and(|n| n < count) {
        back -= 1;
        let candidate = day(today, back);
        // 1970-01-01 was a Thursday; Sunday is day 3 of the weeks that begin with it.
        if candidate.0.div_euclid(DAY_MS).rem_euclid(7) != 3 {
            days.push(candidate);
        }
    }
    days.reverse();
    days
}
