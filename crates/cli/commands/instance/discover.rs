//! `icecore instance discover`: asks a Management Server for its instances, and writes their configuration.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};

use icecore_source::freezer::MailstoreConfig;
use icecore_source::freezer::mailstore::{DiscoveredInstance, discover};
use serde_json::{Value, json};

use super::ANSWER;
use crate::args::{DiscoverArgs, Global};
use crate::error::{Error, Result};
use crate::exit::Code;
use crate::output::{Output, human};

/// Runs the command.
pub fn run(args: &DiscoverArgs, global: &Global, output: &mut Output) -> Result<Code> {
    let Some(password_file) = &global.password_file else {
        let message = "name the file that holds the administrator's password with --password-file FILE";
        return Err(Error::Misuse(message.to_owned()));
    };
    let absolute = |path: &Path| std::path::absolute(path).map_err(Error::file("find", path));
    let server = MailstoreConfig {
        endpoint: args.endpoint.clone(),
        user: args.user.clone(),
        password_file: absolute(password_file)?,
        instance_id: String::new(),
        certificate_sha256: args.certificate_sha256.clone(),
        ca_file: args.ca_file.as_deref().map(absolute).transpose()?,
        timeout_ms: ANSWER.as_millis() as u64,
        restart_after_failed_thaw: false,
    };
    let instances = discover(&server).map_err(Error::Discover)?;
    for (instance, problem) in instances.iter().filter_map(|instance| Some((instance, instance.problem.as_ref()?))) {
        output.warn(format_args!(
            "instance {}: its stores could not be asked for, roots may be missing: {}",
            human::printable(&instance.id),
            human::printable(problem)
        ));
    }
    let text = configuration(&server, &instances);
    if output.manner().json {
        let instances: Vec<Value> = instances.iter().map(document).collect();
        output.document(json!({ "instances": instances, "configuration": text }))?;
    } else {
        output.write_all(text.as_bytes())?;
    }
    if instances.is_empty() {
        output.note("the Management Server knows no instance");
    }
    Ok(Code::partial_if(instances.iter().any(|instance| instance.problem.is_some())))
}

fn document(instance: &DiscoveredInstance) -> Value {
    json!({
        "id": instance.id,
        "display_name": instance.display_name,
        "base_directory": instance.base_directory,
        "outside_roots": instance.outside_roots(),
        "problem": instance.problem,
    })
}

/// Writes a configuration that can be used as it is, if the server's paths are this host's.
fn configuration(server: &MailstoreConfig, instances: &[DiscoveredInstance]) -> String {
    let mut text = String::new();
    for instance in instances {
        // Writing to a string cannot fail.
        let _ = write_instance(&mut text, server, instance);
    }
    text
}

fn write_instance(
    text: &mut String,
    server: &MailstoreConfig,
    instance: &DiscoveredInstance,
) -> std::result::Result<(), std::fmt::Error> {
    if !instance.display_name.is_empty() {
        writeln!(text, "# {}", human::printable(&instance.display_name))?;
    }
    if let Some(problem) = &instance.problem {
        writeln!(text, "# Its stores could not be asked for, roots may be missing: {}", human::printable(problem))?;
    }
    writeln!(text, "[[instance]]")?;
    writeln!(text, "name = {}", quoted(&instance.id))?;
    let roots = roots(instance);
    let roots: Vec<_> = roots.iter().map(|(name, path)| format!("{} = {}", quoted(name), quoted(path))).collect();
    writeln!(text, "roots = {{ {} }}", roots.join(", "))?;
    writeln!(text, "max-freeze = \"30s\"\n")?;
    writeln!(text, "[instance.freezer]")?;
    writeln!(text, "kind = \"mailstore\"")?;
    let path = |path: &PathBuf| quoted(&path.to_string_lossy());
    writeln!(text, "endpoint = {}", quoted(&server.endpoint))?;
    writeln!(text, "user = {}", quoted(&server.user))?;
    writeln!(text, "password-file = {}", path(&server.password_file))?;
    writeln!(text, "instance-id = {}", quoted(&instance.id))?;
    if let Some(pin) = &server.certificate_sha256 {
        writeln!(text, "certificate-sha256 = {}", quoted(pin))?;
    }
    if let Some(file) = &server.ca_file {
        writeln!(text, "ca-file = {}", path(file))?;
    }
    writeln!(text)
}

/// The base directory and every store outside it, under names that differ: `base`, and the last name of each path.
fn roots(instance: &DiscoveredInstance) -> Vec<(String, String)> {
    let mut roots = vec![("base".to_owned(), instance.base_directory.clone())];
    for path in instance.outside_roots() {
        let last = path.rsplit(['\\', '/']).find(|name| !name.is_empty()).unwrap_or("store");
        // As of `E:`, and everything else that would be odd in a path.
        let plain: String =
            last.chars().map(|c| if c.is_alphanumeric() || "-_. ".contains(c) { c } else { '_' }).collect();
        let taken = |name: &str| roots.iter().any(|(other, _)| other == name);
        let numbered = (2..).map(|number| format!("{plain}-{number}"));
        let name = std::iter::once(plain.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or(plain);
        roots.push((name, path));
    }
    roots
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use icecore_source::freezer::FreezerConfig;
    use icecore_source::freezer::mailstore::DiscoveredStore;

    use super::*;
    use crate::config::Configuration;

    #[test]
    fn what_is_written_can_be_read() {
        let store = |path: &str| DiscoveredStore {
            name: "store".into(),
            database_path: None,
            content_path: Some(path.into()),
            index_path: None,
        };
        let instance = |id: &str, paths: &[&str]| DiscoveredInstance {
            id: id.into(),
            display_name: "Customer \"1\"\nLtd".into(),
            base_directory: format!("/srv/\"{id}\""),
            stores: paths.iter().map(|path| store(path)).collect(),
            problem: None,
        };
        let server = MailstoreConfig {
            endpoint: "https://spe.example.com:8474".into(),
            user: "ad\\min".into(),
            password_file: "/etc/icecore/pass word".into(),
            instance_id: String::new(),
            certificate_sha256: Some("ab".repeat(32)),
            ca_file: Some("/etc/ca.pem".into()),
            timeout_ms: 60_000,
            restart_after_failed_thaw: false,
        };
        let instances = [instance("cust01", &["/slow/a:b/x", "/fast/x", "/fast/base"]), instance("cust02", &[])];
        let text = configuration(&server, &instances);
        let read = Configuration::parse(Path::new("c.toml"), text.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let roots: Vec<_> =
            read.instances[0].roots.iter().map(|root| (root.name.as_str(), root.path.to_str().unwrap())).collect();
        let expected =
            [("base", "/srv/\"cust01\""), ("base-2", "/fast/base"), ("x", "/fast/x"), ("x-2", "/slow/a:b/x")];
        assert_eq!(roots, expected);
        let meant = MailstoreConfig { instance_id: "cust02".into(), ..server };
        assert_eq!(read.instances[1].freezing.freezer, FreezerConfig::Mailstore(meant));
    }
}
