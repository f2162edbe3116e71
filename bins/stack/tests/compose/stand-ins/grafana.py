"""Stands in for Grafana: healthy where its data source answers and its dashboards could be drawn."""

import glob
import json
import os
import urllib.parse
import urllib.request

import yaml

from answers import serve

PROVISIONING = "/etc/grafana/provisioning"


def read(kind):
    for path in glob.glob(f"{PROVISIONING}/{kind}/*.yml"):
        with open(path) as file:
            yield yaml.safe_load(file)


def panels(dashboard):
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def check():
    wrong = []
    sources = {source["uid"]: source for file in read("datasources") for source in file["datasources"]}
    for source in sources.values():
        query = urllib.parse.urlencode({"query": "up"})
        with urllib.request.urlopen(f"{source['url']}/api/v1/query?{query}", timeout=3) as answer:
            if json.load(answer)["status"] != "success":
                wrong.append(f"{source['name']} does not answer")
    providers = [provider for file in read("dashboards") for provider in file["providers"]]
    files = [path for provider in providers for path in glob.glob(f"{provider['options']['path']}/*.json")]
    if not sources or len(files) < 5:
        wrong.append(f"{len(sources)} data sources, {len(files)} dashboards")
    for path in files:
        with open(path) as file:
            dashboard = json.load(file)
        for panel in panels(dashboard):
            uid = (panel.get("datasource") or {}).get("uid")
            if uid not in (None, "-- Grafana --", *sources):
                wrong.append(f"{path}: {panel['title']}: no data source {uid}")
    if os.environ["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] not in files:
        wrong.append("the home dashboard is not there")
    if (os.environ["GF_AUTH_ANONYMOUS_ENABLED"], os.environ["GF_AUTH_ANONYMOUS_ORG_ROLE"]) != ("true", "Viewer"):
        wrong.append("strangers may not look")
    return wrong


serve(3000, "/api/health", check)
