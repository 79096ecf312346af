# The CNI plugins that an agent's pod copies onto its node (the chart's agent.cniPlugins.image), and a shell to do it.
#
#   docker build -f deploy/image/cni-plugins.Dockerfile -t cloudroute-cni-plugins .    # from the repository's root
#   deploy/image/build.sh FOLDER                                                       # the same by buildah
#
# Debian links its plugins against the C library: a node must have glibc 2.34 or newer (Amazon Linux 2023, Debian 12,
# Ubuntu 22.04). BUILDER is a Debian 12, or anything else that has all that is installed here.
ARG BUILDER=debian:bookworm-slim
FROM ${BUILDER} AS build
ARG SOURCE_DATE_EPOCH=0
RUN if ! [ -e /usr/lib/cni/bridge ] || ! [ -e /bin/busybox ] || ! command -v python3; then \
      apt-get update \
      && apt-get install -y --no-install-recommends busybox-static containernetworking-plugins python3; \
    fi >/dev/null
COPY deploy/image/sbom.py cloudroute/__init__.py /src/
RUN mkdir -p /image/bin /image/opt/cni/bin \
    && cp /bin/busybox /image/bin/ \
    && for name in sh cat chmod cmp cp ls mv; do ln -s busybox /image/bin/$name; done \
    && for plugin in bridge host-local loopback portmap bandwidth; do cp /usr/lib/cni/$plugin /image/opt/cni/bin/; done \
    && for package in busybox-static containernetworking-plugins; do \
         mkdir -p /image/usr/share/doc/$package && cp /usr/share/doc/$package/copyright /image/usr/share/doc/$package/; \
       done \
    && SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH python3 /src/sbom.py /var/lib/dpkg/status \
         cloudroute-cni-plugins "$(sed -n 's/^__version__ = "\(.*\)"/\1/p' /src/__init__.py)" \
         containernetworking-plugins busybox-static >/image/sbom.cdx.json

FROM scratch
COPY --from=build /image /
ENV PATH=/bin
LABEL org.opencontainers.image.title="cloudroute-cni-plugins" \
      org.opencontainers.image.description="The CNI plugins that cloudroute's agent needs on a node, from Debian" \
      org.opencontainers.image.licenses="Apache-2.0 AND GPL-2.0-only"
# Nobody, as the image of cloudroute. The init container overrides it: a node's folder of plugins is root's.
USER 65532:65532
CMD ["sh"]
