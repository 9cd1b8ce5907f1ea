#!/bin/sh
# Fetches iperf 2.2, whose output the suite reads, into DIR: Debian 13's, with the
# libraries that it runs on. Nothing is installed, and apt's own lists stay as they are.
set -eu
dir=$1
tmp=$(mktemp -d "$dir.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$tmp/lists/partial" "$tmp/root"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" >"$tmp/sources.list"
apt() {
  apt-get -q -o Dir::Etc::SourceList="$tmp/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$tmp/lists" \
    -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o Acquire::Languages=none -o APT::Sandbox::User=root "$@"
}
apt update
(cd "$tmp" && apt download iperf libc6 libstdc++6 libgcc-s1)
for deb in "$tmp"/*.deb; do dpkg -x "$deb" "$tmp/root"; done
mkdir "$tmp/iperf"
cp "$tmp/root/usr/bin/iperf" "$tmp/iperf/iperf.bin"
cp -L "$tmp"/root/usr/lib/*/ld-linux-*.so.? "$tmp/iperf/ld.so"
for lib in libc.so.6 libm.so.6 libresolv.so.2 libnss_dns.so.2 libnss_files.so.2 libgcc_s.so.1 libstdc++.so.6; do
  cp -L "$tmp"/root/usr/lib/*/$lib "$tmp/iperf/"
done
printf '#!/bin/sh\nexec /opt/iperf/ld.so --library-path /opt/iperf /opt/iperf/iperf.bin "$@"\n' >"$tmp/iperf/iperf"
chmod +x "$tmp/iperf/iperf"
rm -rf "$dir"
mv "$tmp/iperf" "$dir"
