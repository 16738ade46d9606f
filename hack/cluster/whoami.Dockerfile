# The example's image where a container engine is at hand: it only needs a Python, and the operator's image has one.
ARG BASE=roadstead-operator:demo
FROM ${BASE}
# Like most images in the wild it is made for root, and has to run as non-root all the same.
USER root
COPY examples/whoami/whoami.py /app/whoami.py
ENTRYPOINT ["python3", "/app/whoami.py"]
CMD []
