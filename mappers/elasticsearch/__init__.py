"""Elasticsearch and OpenSearch: from a document to indexed documents, and the names that a mapper of your own needs."""

from mappers.elasticsearch.mapper import DocumentMapper
from mappers.elasticsearch.records import IndexDocument, index_document

__all__ = ["DocumentMapper", "IndexDocument", "index_document"]
