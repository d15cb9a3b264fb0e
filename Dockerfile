# segsearch on a CPU, or on an NVIDIA GPU where the container is given one: the PyTorch that pip
# finds by itself brings CUDA along. For a smaller image without it, name PyTorch's index of CPU
# builds:  docker build --build-arg PIP_EXTRA_INDEX_URL=... .
FROM python:3.11-slim AS build

ARG PIP_EXTRA_INDEX_URL=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/segsearch
WORKDIR /src

# What segsearch needs comes first, so that a change of its own code does not fetch it all again.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > needed.txt \
    && /opt/segsearch/bin/pip install -c constraints.txt -r needed.txt

COPY README.md LICENSE ./
COPY search search
COPY ingest ingest
COPY api api
COPY starter starter
RUN /opt/segsearch/bin/pip install --no-deps .


FROM python:3.11-slim

COPY --from=build /opt/segsearch /opt/segsearch
# Folders that volumes are mounted on belong to the user, and so do the volumes then.
RUN useradd --create-home segsearch \
    && install -d -o segsearch -g segsearch /library /models \
    && ln -s /opt/segsearch/bin/segsearch /usr/local/bin/segsearch
# numba keeps compiled code beside the package, where this user may not write, or else here.
ENV SEGSEARCH_LIBRARY=/library HF_HOME=/models NUMBA_CACHE_DIR=/tmp/numba PYTHONUNBUFFERED=1
USER segsearch
WORKDIR /home/segsearch
ENTRYPOINT ["segsearch"]
CMD ["--help"]
