//! A SIEM: Debian's rsyslog, which takes syslog over TLS as hospitals' collectors do, and asks for the gateway's certificate.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::gateway::Gateway;
use super::{http, python};
use crate::report::Counted;
use crate::shell::{self, Guarded};

const START_LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Siem {
    folder: PathBuf,
    port: u16,
    process: Option<Guarded>,
}

impl Siem {
    /// Certificates of an authority that is made up here, and rsyslog with one of them.
    pub(crate) fn start(work: &Path) -> Result<Self> {
        let folder = work.join("siem");
        std::fs::create_dir_all(&folder)?;
        let openssl = |line: &str| {
            let words = format!("cd {} && openssl {line}", folder.display());
            shell::capture(shell::command("bash").args(["-c", &words])).map(drop)
        };
        openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=made-up",
        )?;
        // With an extension each: without, openssl makes certificates of version 1, which rustls takes from nobody.
        for (name, more) in
            [("siem", "-addext subjectAltName=IP:127.0.0.1"), ("gateway", "-addext subjectAltName=DNS:gateway")]
        {
            openssl(&format!(
                "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name} {more}"
            ))?;
            openssl(&format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy -out {name}.pem"
            ))?;
        }
        // Free now.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let at = |name: &str| folder.join(name).display().to_string();
        let config = format!(
            "global(workDirectory=\"{}\" maxMessageSize=\"64k\" parser.escapeControlCharactersOnReceive=\"off\"\n\
               defaultNetstreamDriverCAFile=\"{}\" defaultNetstreamDriverCertFile=\"{}\" defaultNetstreamDriverKeyFile=\"{}\")\n\
             module(load=\"imtcp\" StreamDriver.Name=\"gtls\" StreamDriver.Mode=\"1\" StreamDriver.AuthMode=\"x509/certvalid\")\n\
             template(name=\"parts\" type=\"string\" string=\"%pri% %timestamp:::date-rfc3339% %app-name% %msgid% %msg%\\n\")\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n\
             action(type=\"omfile\" file=\"{}\" template=\"parts\")\n",
            folder.display(),
            at("ca.pem"),
            at("siem.pem"),
            at("siem.key"),
            at("messages")
        );
        std::fs::write(folder.join("rsyslog.conf"), config)?;
        let mut siem = Self { folder, port, process: None };
        siem.go_on()?;
        Ok(siem)
    }

    fn go_on(&mut self) -> Result<()> {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("rsyslog.log"))?;
        let mut command = shell::command("/usr/sbin/rsyslogd");
        command.arg("-n").arg("-f").arg(self.folder.join("rsyslog.conf")).arg("-i").arg(self.folder.join("pid"));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut process = Guarded(command.spawn().context("rsyslogd does not start")?);
        let deadline = Instant::now() + START_LIMIT;
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if process.0.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("rsyslogd: {}", std::fs::read_to_string(self.folder.join("rsyslog.log"))?);
            }
            sleep(Duration::from_millis(50));
        }
        self.process = Some(process);
        Ok(())
    }

    /// What the gateway has to know.
    pub(crate) fn settings(&self) -> [(&'static str, String); 4] {
        let at = |name: &str| self.folder.join(name).display().to_string();
        [
            ("HOLDFAST__AUDIT__SYSLOG", format!("tls://127.0.0.1:{}", self.port)),
            ("HOLDFAST__AUDIT__CA", at("ca.pem")),
            ("HOLDFAST__AUDIT__CERTIFICATE", at("gateway.pem")),
            ("HOLDFAST__AUDIT__KEY", at("gateway.key")),
        ]
    }

    /// All that every other peer did has come; and what was done while it was killed comes, too.
    pub(crate) fn judge(mut self, gateway: &Gateway, work: &Path) -> Result<Counted> {
        // In the middle of things: nothing is said to the gateway, and nothing is written out.
        drop(self.process.take());
        for _ in 0..20 {
            let asked = format!("{}/Patient?family=nobody", gateway.ready("/fhir")?);
            let answer = http::send("GET", &asked, gateway.token("oncologist")?, None)?;
            ensure!(answer.status == 200, "a gateway without its SIEM answers {} {}", answer.status, answer.body);
        }
        self.go_on()?;
        python("siem.py", gateway, work)
    }
}
