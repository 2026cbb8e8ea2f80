//! The files for Kubernetes: the API's own schemas know every field, names fit together, and the settings in
//! them are right.

use std::process::Command;

use serde_json::Value;

use super::support::process::dustgate;
use super::{root, said};

/// Where `tests/run` puts the schemas, and the reader that they come with.
const PACKAGES: &str = "target/servers";
/// Reads all files, checks each object against the schema of its kind, and prints them as JSON. Kinds that
/// the API does not have are printed alone.
const READ: &str = r"
import json, sys, yaml, kubernetes_validate
out = []
for name in sys.argv[1:]:
    for one in yaml.safe_load_all(open(name)):
        if one['apiVersion'].split('/')[0] in ('v1', 'apps', 'policy'):
            kubernetes_validate.validate(one, '1.33', strict=True)
        out.append(one)
json.dump(out, sys.stdout)
";

fn objects() -> Vec<Value> {
    let folder = root().join("config/kubernetes");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut python = Command::new("python3");
    python.args(["-c", READ]).args(files).env("PYTHONPATH", root().join(PACKAGES));
    serde_json::from_str(&said(&mut python)).unwrap()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|one| one["kind"] == kind).collect()
}

#[test]
fn the_files_for_kubernetes_are_what_its_api_takes() {
    let objects = objects();
    for kind in ["ConfigMap", "Secret", "Deployment", "PodDisruptionBudget", "ServiceMonitor"] {
        assert_eq!(of_kind(&objects, kind).len(), 1, "{kind}");
    }
    let deployment = of_kind(&objects, "Deployment")[0];
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let ports: Vec<_> =
        container["ports"].as_array().unwrap().iter().map(|port| port["name"].as_str().unwrap()).collect();
    for service in of_kind(&objects, "Service") {
        assert_eq!(&service["spec"]["selector"], labels);
        for port in service["spec"]["ports"].as_array().unwrap() {
            assert!(ports.contains(&port["targetPort"].as_str().unwrap()), "{port}");
        }
    }
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], "admin", "{probe}");
    }
    assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&of_kind(&objects, "PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"], labels);
    let monitored = &of_kind(&objects, "ServiceMonitor")[0]["spec"]["selector"]["matchLabels"];
    let is_it = |service: &&&Value| &service["metadata"]["labels"] == monitored;
    assert_eq!(of_kind(&objects, "Service").iter().filter(is_it).count(), 1);
    // A rolling restart takes no pod away before another is there.
    assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
}

#[test]
fn the_settings_for_kubernetes_are_right_and_the_pod_is_given_their_time() {
    let objects = objects();
    let text = of_kind(&objects, "ConfigMap")[0]["data"]["dustgate.toml"].as_str().unwrap();
    let secrets = of_kind(&objects, "Secret")[0]["stringData"].as_object().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dustgate.toml");
    std::fs::write(&file, text).unwrap();
    let mut check = dustgate();
    check.args(["check", "-c"]).arg(&file);
    check.envs(secrets.iter().map(|(name, value)| (name, value.as_str().unwrap())));
    assert!(said(&mut check).contains("all"), "its route");
    let env: Vec<_> =
        secrets.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
    let settings = dustgate::config::load(Some(&file), env).unwrap();
    let pod = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"];
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    let server = &settings.server;
    assert!(grace > (server.drain_delay + server.drain).as_secs(), "{grace} s");
    let ports = pod["containers"][0]["ports"].as_array().unwrap();
    let named =
        |name: &str| ports.iter().find(|port| port["name"] == name).unwrap()["containerPort"].as_u64();
    assert_eq!(named("http"), Some(server.addresses()[0].port().into()));
    assert_eq!(named("admin"), Some(settings.admin.listen.0.port().into()));
}
