"""Stands in for Redpanda Console: healthy where its brokers answer, and what stands in each mapped
topic can be decoded as the type that it is mapped to."""

import glob
import json
import os
import subprocess

import yaml

from answers import serve


def newest(broker, topic):
    """The last record of the topic, or None where it has none."""
    command = ["kcat", "-b", broker, "-C", "-t", topic, "-o", "-1", "-c", "1", "-e", "-q", "-D", ""]
    return subprocess.run(command, capture_output=True, timeout=20, check=True).stdout or None


def check():
    wrong = []
    with open(os.environ["CONFIG_FILEPATH"]) as file:
        kafka = yaml.safe_load(file)["kafka"]
    broker, protobuf = kafka["brokers"][0], kafka["protobuf"]
    listing = subprocess.run(["kcat", "-b", broker, "-L", "-J"], capture_output=True, timeout=20, check=True)
    topics = {topic["topic"] for topic in json.loads(listing.stdout)["topics"]}
    folders = [folder for folder in protobuf["fileSystem"]["paths"] if protobuf["fileSystem"]["enabled"]]
    files = [path for folder in folders for path in glob.glob(f"{folder}/**/*.proto", recursive=True)]
    for mapping in protobuf["mappings"] if protobuf["enabled"] else []:
        topic, kind = mapping["topicName"], mapping["valueProtoType"]
        record = newest(broker, topic) if topic in topics else None
        paths = [f"--proto_path={folder}" for folder in folders]
        package = kind.rsplit(".", 1)[0].replace(".", "/")
        own = [path for path in files if f"/{package}/" in path]
        command = ["protoc", *paths, f"--decode={kind}", *own]
        decoded = subprocess.run(command, input=record or b"", capture_output=True, timeout=20)
        if decoded.returncode != 0:
            wrong.append(f"{topic}: {decoded.stderr.decode()}")
    return wrong


serve(8080, "/admin/health", check)
