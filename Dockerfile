# One image for every process of Freshet; the command says which. Needs nothing but the network to build:
#   docker build -t freshet:0.1.0 .
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# a package index with PyTorch for CPUs only makes the image gigabytes smaller; empty takes the default build
ARG TORCH_INDEX=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/freshet
ENV PATH=/opt/freshet/bin:$PATH
WORKDIR /src
COPY constraints.txt ./
RUN if [ -n "${TORCH_INDEX}" ]; then pip install --no-deps --constraint constraints.txt --index-url "${TORCH_INDEX}" torch; fi
# dependencies before the source, so that a changed line does not fetch them again
COPY pyproject.toml README.md LICENSE ./
RUN pip install --constraint constraints.txt '.[worker]' && pip uninstall --yes freshet
COPY stream stream
COPY consumers consumers
COPY models models
COPY serving serving
COPY monitoring monitoring
COPY freshet freshet
RUN pip install --no-deps .

FROM ${PYTHON_IMAGE}
# owned folders, so that new volumes mounted there can be written to
RUN groupadd --gid 10001 freshet \
 && useradd --uid 10001 --gid freshet --no-create-home --home-dir /data --shell /usr/sbin/nologin freshet \
 && install --directory --owner freshet --group freshet /data /state
COPY --from=build /opt/freshet /opt/freshet
ENV PATH=/opt/freshet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HOME=/data/hub \
    FRESHET_DATA_DIR=/data
WORKDIR /data
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["freshet", "serve"]
