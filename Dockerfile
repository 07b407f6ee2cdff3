# The operator's image: built from Debian's packages, run from scratch with only what the binary loads.
#   docker build -t regroup.dev/operator:0.1.0 .
#   buildah bud --isolation chroot --pull-never -t regroup.dev/operator:0.1.0 .
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      ca-certificates cmake g++ libasio-dev libcli11-dev libcpprest-dev libexpected-dev libfmt-dev \
      libhiredis-dev libssl-dev libyaml-cpp-dev ninja-build nlohmann-json3-dev pkg-config \
      prometheus-cpp-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY CMakeLists.txt CMakePresets.json ./
COPY cmake cmake
COPY operator operator
RUN cmake --preset image && cmake --build --preset image --target regroup-operator

# The root of the final image: the binary, the shared libraries that it loads (with their packages' names, versions and
# licences, as image scanners read them), the certificate authorities and an account without rights.
RUN set -eu; root=/root-of-image; binary=build/image/operator/regroup-operator; \
    mkdir -p "$root/etc/ssl/certs" "$root/var/lib/dpkg/status.d"; \
    install -D -s -m 755 "$binary" "$root/usr/local/bin/regroup-operator"; \
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"; \
    echo 'nonroot:x:65532:65532:nonroot:/:/sbin/nologin' > "$root/etc/passwd"; \
    echo 'nonroot:x:65532:' > "$root/etc/group"; \
    for library in $(ldd "$binary" | grep -o '/[^ ]*'); do \
      cp -L --parents "$library" "$root"; \
      owner=$(dpkg -S "$library" 2>/dev/null || dpkg -S "/usr$library"); package=${owner%%:*}; \
      dpkg-query -s "$package" > "$root/var/lib/dpkg/status.d/$package"; \
      licence=/usr/share/doc/$package/copyright; [ ! -e "$licence" ] || cp -L --parents "$licence" "$root"; \
    done; \
    chroot "$root" /usr/local/bin/regroup-operator --help > /dev/null

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Regroup" \
      org.opencontainers.image.description="Operator for ElastiCache-style replication groups of Redis and Valkey" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim"
COPY --from=build /root-of-image/ /
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/regroup-operator"]
