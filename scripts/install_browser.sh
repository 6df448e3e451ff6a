#!/bin/sh
# Debian's Chromium and its driver, for the tests that open a page in a browser: installs them where they are absent
# and can be. Where they cannot, says so and ends well: those tests are then skipped.
set -u
there() { command -v chromium >/dev/null && command -v chromedriver >/dev/null; }
skip() { echo "no Chromium ($1): tests in a browser will be skipped; install chromium and chromedriver to run them"; exit 0; }

there && { echo "Chromium is here: $(command -v chromium)"; exit 0; }
command -v apt-get >/dev/null || skip "there is no apt-get"
[ "$(id -u)" = 0 ] || skip "apt-get needs root"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >/dev/null 2>&1 || skip "apt-get update failed"
apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null 2>&1
there || skip "apt-get install chromium chromium-driver failed"
echo "Chromium was installed: $(command -v chromium)"
